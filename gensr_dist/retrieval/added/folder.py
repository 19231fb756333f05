"""`RUN/added`: items that came after training, and everything over the log's items and them that answers read.

It is written whole or not at all, belongs to one index, and leaves the run's own files as they are: evaluation, and a
run without this folder, read the catalogue that the log had.

Dimensions: I items of the log, A added ones, X = I + A, T title tokens, E width of a CF vector.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.errors import InputError
from gensr_dist.retrieval.added.text_lists import FILES as LIST_FILES
from gensr_dist.retrieval.added.text_lists import REMEDY
from gensr_dist.retrieval.channels.stage import RECORD as CHANNELS_RECORD
from gensr_dist.retrieval.index import RECORD as INDEX_RECORD
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.checked_files import CheckedFiles, record_files, sha256_of_file
from gensr_dist.storage.records import read_record, write_json

RECORD = "added.json"
TABLE, TITLES, CF = "items.parquet", "title_tokens.npy", "cf.npy"
INDEX, LISTS = "index", "lists"  # folders


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What added items are made from; other results make them useless."""

    index: str  # SHA-256 of index.json, which lists the vectors of model and LightGCN
    channels: str  # SHA-256 of channels.json
    items: str  # SHA-256 of the log's table of items

    @classmethod
    def of(cls, run: RunFolder, manifest: Manifest) -> Self:
        """Of what a run folder holds now.

        Args:
            run: indexed.
            manifest: of its shards.

        Raises:
            InputError: it has no index or no channels.
        """
        for path, stage in ((run.channels / CHANNELS_RECORD, "channels"), (run.index / INDEX_RECORD, "index")):
            if not path.is_file():
                raise InputError(path, "the file does not exist", f"run `gensr {stage}` first")
        return cls(
            index=sha256_of_file(run.index / INDEX_RECORD),
            channels=sha256_of_file(run.channels / CHANNELS_RECORD),
            items=next(record.sha256 for record in manifest.files if record.name == "items/items.parquet"),
        )


@dataclass(frozen=True, kw_only=True)
class _Contents(CheckedFiles):
    """added.json."""

    origin: Origin
    items: int  # of the log
    added: int


@dataclass(frozen=True, kw_only=True)
class AddedFolder:
    """A whole folder that belongs to the present index."""

    folder: Path
    table: pl.DataFrame  # item_id and text of the added items, in the order in which they came

    @classmethod
    def open(cls, folder: Path, origin: Origin) -> Self:
        """Look at every file's checksum.

        Raises:
            InputError: a file is missing or changed, or the items were added to another index.
        """
        path = folder / RECORD
        contents = read_record(path, _Contents, "added items", missing=REMEDY, wrong=REMEDY)
        if contents.origin != origin:
            raise InputError(path, f"its {contents.added:,} items were added to another index of this run", REMEDY)
        names = {TABLE, TITLES, CF, f"{INDEX}/{INDEX_RECORD}", *(f"{LISTS}/{name}" for name in LIST_FILES)}
        missing = sorted(names - {record.name for record in contents.files})
        if missing:
            raise InputError(path, f"expected records of {', '.join(missing)}", REMEDY)
        contents.require(path, [record.name for record in contents.files], REMEDY)
        return cls(folder=folder, table=pl.read_parquet(folder / TABLE, glob=False))

    @property
    def record(self) -> Path:
        """File that changes with whatever was added."""
        return self.folder / RECORD

    @property
    def index(self) -> Path:
        """An index folder over all X items."""
        return self.folder / INDEX

    @property
    def lists(self) -> Path:
        """What `TextLists.save` wrote."""
        return self.folder / LISTS

    def vectors(self) -> NDArray[np.float32]:
        """CF vectors of all items [X, E], mapped."""
        return open_array(self.folder / CF, REMEDY)

    def store(self, items: ItemStore) -> "ItemsWithAdded":
        """The item store of all items.

        Args:
            items: of the log.
        """
        return ItemsWithAdded(
            title_IT=open_array(self.folder / TITLES, REMEDY),
            query_QT=items.query_QT,
            popularity_I=np.pad(items.popularity_I, (0, len(self.table))),
            files=items.files,
            added=self.table,
        )


@dataclass(frozen=True)
class ItemsWithAdded(ItemStore):
    """The log's items, then the added ones, which nobody chose in training."""

    added: pl.DataFrame

    @cached_property
    def item_ids(self) -> pl.Series:
        """Raw id of each item, String [X]."""
        return pl.concat([super().item_ids, self.added["item_id"]])

    @cached_property
    def texts(self) -> pl.Series:
        """Text of each item, String [X]."""
        return pl.concat([super().texts, self.added["text"]])


def seal(folder: Path, origin: Origin, items: int, added: int) -> None:
    """Record the files of a folder that is complete.

    Args:
        folder: with all of them.
        origin: what they were made from.
        items: of the log.
        added: A.
    """
    files = record_files(folder, (path for path in folder.rglob("*") if path.is_file()))
    write_json(folder / RECORD, asdict(_Contents(origin=origin, items=items, added=added, files=files)))


def count_added(folder: Path) -> int:
    """How many items a folder says it has, whole or not; 0 where it does not say."""
    try:
        contents = read_record(folder / RECORD, _Contents, "added items", missing=REMEDY, wrong=REMEDY)
    except InputError:
        return 0
    return contents.added
