"""Scorers that count and do not train."""
