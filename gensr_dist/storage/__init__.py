"""Folders of files, local or behind URLs."""
