"""One log file a rank, `RUN/logs/rank_00000.log`, beside what rank 0 shows on the terminal."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError, Paused

_LOG = logging.getLogger("gensr_dist")
DETAIL = logging.getLogger("gensr_dist.rank")  # for the files alone
_FORM = "%(asctime)s %(levelname).1s %(message)s"


def log_path(folder: Path, rank: int) -> Path:
    """The file of a rank."""
    return folder / f"rank_{rank:05d}.log"


@contextmanager
def rank_log(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Append what this package logs at INFO and above to the rank's file; starts of one run share it.

    Args:
        folder: of the logs.
        ranks: this process among the others.
    """
    path = log_path(folder, ranks.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORM))
    # The logger lets everything through now, so that what shows on the terminal is for its own handlers to say.
    shown = [(other, other.level) for other in logging.getLogger().handlers]
    level = _LOG.getEffectiveLevel()
    for other, _ in shown:
        other.addFilter(_not_detail)
        other.setLevel(max(other.level, level))
    before = _LOG.level
    _LOG.setLevel(logging.INFO)
    _LOG.addHandler(handler)
    try:
        place = f"{ranks.device} of {socket.gethostname()}"
        DETAIL.info(f"start: rank {ranks.rank} of {ranks.world} on {place}, process {os.getpid()}")
        yield
    except BaseException as error:
        DETAIL.error(f"end: {type(error).__name__}: {error}", exc_info=not isinstance(error, (InputError, Paused)))
        raise
    finally:
        _LOG.removeHandler(handler)
        handler.close()
        _LOG.setLevel(before)
        for other, other_level in shown:
            other.removeFilter(_not_detail)
            other.setLevel(other_level)


def _not_detail(record: logging.LogRecord) -> bool:
    return record.name != DETAIL.name
