"""What runs of one log have in common: a further run links to the results of the first."""

import os
from collections.abc import Iterable

from gensr_dist.runs.folder import RunFolder

SHARED = ("shards", "cf", "channels")
SHARED_STAGES = ("simulate", "prepare", "lightgcn", "channels")


def link_shared(run: RunFolder, first: RunFolder, names: Iterable[str] = SHARED) -> None:
    """Link what is there of another run's results into a run folder, which exists; what it has itself stays."""
    for name in names:
        link, target = run.root / name, (first.root / name).resolve()
        if target.exists() and not link.exists():
            link.unlink(missing_ok=True)  # one to where both lay before they were moved
            link.symlink_to(os.path.relpath(target, run.root.resolve()))
