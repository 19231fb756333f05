"""From training rows to batches: order, collation, loading."""
