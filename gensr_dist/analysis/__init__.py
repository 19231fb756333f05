"""What a trained run is like inside, and what its log is like: one file an idea."""
