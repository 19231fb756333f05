"""The shard format: written, checked, read a window at a time."""
