"""Items that a user did not like: uniform, by popularity, and from the session's exposures."""
