"""Raw logs of each kind, read into the one event schema."""

from pathlib import Path

from tqdm import tqdm

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.sources import amazon, kuaisar, tables
from gensr_dist.data.sources.assembling import assemble
from gensr_dist.data.sources.chunks import Each
from gensr_dist.data.sources.listing import RawFile, cut_files
from gensr_dist.data.sources.parts import WHOLE, Sample, SourceParts, read_parts
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

FILES = {"kuaisar": kuaisar.files, "simulate": kuaisar.files, "amazon": amazon.files, "tables": tables.files}


def list_files(config: DataConfig, raw: str | Path) -> tuple[RawFile, ...]:
    """Name the files of a raw log and what its source takes from each; nothing is read yet.

    Args:
        config: `source` says what kind of log it is.
        raw: path or fsspec URL of its folder.

    Raises:
        InputError: there is no such folder, or it lacks files.
    """
    return FILES[config.source](_folder(config, raw))


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
    folder = _folder(config, raw)
    if config.source == "amazon":
        return amazon.parts(folder, sample)
    return cut_files(FILES[config.source](folder), each, sample)


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
