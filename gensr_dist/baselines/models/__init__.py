"""The trained baselines, one file each beside its settings."""
