"""Many systems on the same rows: trials, seeds, and the tables that compare them."""
