"""Raw logs of each kind, read into the one event schema."""

from pathlib import Path

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.sources import amazon, kuaisar, tables
from gensr_dist.errors import InputError

READERS = {"kuaisar": kuaisar.read, "simulate": kuaisar.read, "amazon": amazon.read, "tables": tables.read}


def read_source(config: DataConfig, raw: Path) -> EventLog:
    """Read the raw folder as the kind of log that `config.source` names.

    Raises:
        InputError: the folder does not exist, or what the source's reader finds wrong in it.
    """
    if not raw.is_dir():
        remedy = "run `gensr simulate` first" if config.source == "simulate" else "give the folder of the raw log"
        raise InputError("data.raw", f"expected a folder, and {str(raw)!r} is none", remedy)
    return READERS[config.source](raw)
