"""Where programs cache for their user."""

import os
from pathlib import Path


def cache_home() -> Path:
    """`XDG_CACHE_HOME`, else `~/.cache`; of a user without a home, as in a container, a place that holds no folder."""
    place = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")  # noqa: PTH111  pathlib's raises
    return Path(os.devnull if place.startswith("~") else place)
