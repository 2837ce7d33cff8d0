"""Step 1: files become one volume."""
