"""Layers and losses that the neural baselines share."""
