"""The user's home folder: `~` in paths, and where programs cache."""

import os
from pathlib import Path


def at_home(path: str | os.PathLike[str]) -> str:
    """A path with `~` or `~user` at its beginning replaced, as a shell does; of no such user, as it is.

    pathlib's own raises RuntimeError then.
    """
    return os.path.expanduser(path)  # noqa: PTH111


def cache_home() -> Path:
    """`XDG_CACHE_HOME`, else `~/.cache`; of a user without a home, as in a container, a place that holds no folder."""
    place = at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.devnull if place.startswith("~") else place)
