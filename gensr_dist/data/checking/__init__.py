"""What a raw log is understood to say, before anything is prepared: `gensr check`."""
