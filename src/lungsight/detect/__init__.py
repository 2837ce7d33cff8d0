"""Step 2: where might something be?"""
