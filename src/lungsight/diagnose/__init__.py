"""Step 3: what is it?"""
