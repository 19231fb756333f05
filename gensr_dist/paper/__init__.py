"""Every figure and claim of the paper for one run: `gensr paper`."""
