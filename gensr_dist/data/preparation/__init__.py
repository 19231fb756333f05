"""From a raw log to a shard folder, on one machine or on a Ray cluster: the bytes are the same."""
