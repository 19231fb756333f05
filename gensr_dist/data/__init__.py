"""Raw logs -> events -> splits -> timelines -> shards -> batches."""
