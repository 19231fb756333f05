"""Every user's events in order, and what is looked up in them."""
