"""GenSR as a distributed trainer: one generative model for search and recommendation."""

__version__ = "0.1.0"
