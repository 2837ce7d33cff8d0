"""One CT from its files to its folder, and many of them in one go."""
