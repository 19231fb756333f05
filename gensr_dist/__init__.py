"""GenSR as a distributed trainer: one generative model for search and recommendation.

`gensr_dist.run(config)` does what `gensr run` does, `gensr_dist.Run.open(folder)` answers; see `interface`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gensr_dist.interface import Run, run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "run"]


def __getattr__(name: str) -> Any:
    """Import the interface when it is first asked for: the command line starts without it."""
    if name not in ("Run", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gensr_dist import interface

    return getattr(interface, name)
