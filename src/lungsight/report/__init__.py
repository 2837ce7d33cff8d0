"""Step 5: tell people and machines."""
