"""Step 4: how good is it? Findings in, numbers out."""
