"""What a prepared log is like before anyone trains on it."""
