"""Raw logs of each kind, read into the one event schema."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from gensr_dist.data.config import DataConfig, Source
from gensr_dist.data.events import EventLog
from gensr_dist.data.sources import amazon, kuaisar, tables
from gensr_dist.data.sources.assembling import assemble
from gensr_dist.data.sources.chunks import Each
from gensr_dist.data.sources.listing import RawFile
from gensr_dist.data.sources.parts import WHOLE, Sample, SourceParts, read_parts
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder


class SourceModule(Protocol):
    """What the module of a source offers."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """Names of a log's files, or patterns of them."""

    def files(self, raw: Folder) -> tuple[RawFile, ...]:
        """Name the files of a log and what is taken from each; nothing is read yet."""

    def parts(self, raw: Folder, each: Each, sample: Sample) -> SourceParts:
        """Name the parts of a log."""


SOURCES: Mapping[Source, SourceModule] = {
    "kuaisar": kuaisar,
    "simulate": kuaisar,
    "amazon": amazon,
    "tables": tables,
}


def list_files(config: DataConfig, raw: str | Path) -> tuple[RawFile, ...]:
    """Name the files of a raw log and what its source takes from each; nothing is read yet.

    Args:
        config: `source` says what kind of log it is.
        raw: path or fsspec URL of its folder.

    Raises:
        InputError: there is no such folder, or it lacks files.
    """
    return SOURCES[config.source].files(_folder(config, raw))


def open_source(config: DataConfig, raw: str | Path, each: Each = map, sample: Sample = WHOLE) -> SourceParts:
    """Name the parts of a raw log.

    Args:
        config: `source` says what kind of log it is.
        raw: path or fsspec URL of its folder.
        each: as for `chunks.cut`.
        sample: how much of the files the parts give.

    Raises:
        InputError: there is no such folder, or the source's files are missing, unreadable or empty.
    """
    return SOURCES[config.source].parts(_folder(config, raw), each, sample)


def _folder(config: DataConfig, raw: str | Path) -> Folder:
    folder = Folder.at(raw)
    if folder.local is not None and not folder.local.is_dir():
        remedy = "run `gensr simulate` first" if config.source == "simulate" else "give the folder of the raw log"
        raise InputError("data.raw", f"expected a folder, and {str(raw)!r} is none", remedy)
    return folder


def read_source(config: DataConfig, raw: str | Path) -> EventLog:
    """Read a raw log on this machine.

    Raises:
        InputError: as `open_source`, and what the source's reader finds wrong in the rows.
    """
    parts = open_source(config, raw)
    size = sum(part.size for table in (parts.interactions, parts.items, parts.users) for part in table)
    with tqdm(total=size, unit="B", unit_scale=True, desc="read log", disable=None if size else True) as bar:
        interactions = read_parts(parts.interactions, bar.update)
        items = read_parts(parts.items, bar.update)
        users = read_parts(parts.users, bar.update)
    return assemble(interactions, items, users)
