"""Step 7: how the networks came to be."""
