"""`gensr index --add ITEMS`: items that came after training become answers of a finished run.

Dimensions: I items of the log, A added ones, X = I + A, E width of a CF vector, H width of the match towers, T title
tokens, W words.
"""

import shutil
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gensr_dist.config.root import Config
from gensr_dist.data.events import Repair
from gensr_dist.data.item_vectors import row_blocks
from gensr_dist.data.sources.ids import require_one_form
from gensr_dist.data.tokenizer import token_table
from gensr_dist.errors import InputError
from gensr_dist.retrieval.added.cf_vectors import vectors_by_text
from gensr_dist.retrieval.added.folder import CF, INDEX, LISTS, TABLE, TITLES, AddedFolder, Origin, seal
from gensr_dist.retrieval.added.reading import read_item_table
from gensr_dist.retrieval.added.text_lists import REMEDY, TextLists, words_of
from gensr_dist.retrieval.index import CatalogueIndex, tower_vectors, write_index
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.storage.arrays import open_array, write_rows
from gensr_dist.storage.durable import durable_folder


@dataclass(frozen=True, kw_only=True)
class AddedItems:
    """What adding a file did."""

    run: str
    file: str
    rows: int  # of the file
    new: int  # items that the run did not know
    known: int  # ids that the log or an earlier file has: those items stay as they are
    repeated: int  # rows whose id came earlier in the file
    without_vector: int  # new items without a CF vector: no token of their text says anything
    added: int  # items of all files together, beside those of the log
    items: int  # that answers are chosen from
    repairs: tuple[Repair, ...]
    discarded: str  # why items that had been added before are gone; empty where none are
    seconds: float

    def lines(self) -> tuple[str, ...]:
        """For people."""
        asides = (
            (self.known, "ids are in the catalogue already: those items stay as they are"),
            (self.repeated, "rows repeat an id of the file: the first counts"),
            (self.without_vector, "new items have a text that says nothing: histories do not find them"),
        )
        total = (
            f"{self.new:,} new items of {self.rows:,} rows; answers are chosen from {self.items:,} items, "
            f"{self.added:,} of them came after training"
        )
        return (
            *((f"note: {self.discarded}",) if self.discarded else ()),
            total if self.new else f"no new item among {self.rows:,} rows: nothing changes",
            *(f"note: {count:,} {what}" for count, what in asides if count),
            *(f"note: {repair.count:,} {repair.what}" for repair in self.repairs),
        )


def add_items(run: RunFolder, config: Config, file: Path) -> AddedItems:
    """Add the items of a file to a run's answers; its folder `added` is written whole or not at all.

    A new item has no training event, a CF vector of the items with the nearest texts, and vectors of the trained model.
    What depends on texts alone is made again over all items, as if the log had had them; weights of fitted orders stay.
    Nothing that evaluation reads is changed.

    Args:
        run: trained and indexed. Nobody else may work in it meanwhile (`runs.records.locked`).
        config: that it was indexed with.
        file: CSV, gzipped CSV or Parquet with item_id and text.

    Raises:
        InputError: the file is no such table, it has an id of the catalogue in another form, the run is not indexed, or
            the folder cannot be written.
    """
    started = time.monotonic()
    given = read_item_table(file)
    trained = TrainedRun.open(run, config)
    origin = Origin.of(run, trained.store.manifest)
    earlier, discarded = _earlier(run, origin)
    item_ids = trained.items.item_ids
    known_ids = item_ids if earlier is None else pl.concat([item_ids, earlier["item_id"]])
    new = given.frame.join(pl.DataFrame({"item_id": known_ids}), on="item_id", how="anti", maintain_order="left")
    require_one_form(pl.concat([known_ids, new["item_id"]]), "items", file)
    table = new if earlier is None else pl.concat([earlier, new])
    without_vector = 0
    if len(new):
        with durable_folder(run.added) as temporary:
            has_vector_A = _write(temporary, trained, config, table)
            seal(temporary, origin, len(item_ids), len(table))
        without_vector = int(np.count_nonzero(~has_vector_A[len(table) - len(new) :]))
    elif discarded:
        shutil.rmtree(run.added)
    return AddedItems(
        run=str(run.root),
        file=str(file),
        rows=given.read,
        new=len(new),
        known=len(given.frame) - len(new),
        repeated=given.repeated,
        without_vector=without_vector,
        added=len(table),
        items=len(item_ids) + len(table),
        repairs=given.repairs,
        discarded=discarded,
        seconds=round(time.monotonic() - started, 3),
    )


def _earlier(run: RunFolder, origin: Origin) -> tuple[pl.DataFrame | None, str]:
    """Items that were added before to this index, and why those of a present folder are not; None without any."""
    if not run.added.exists():
        return None, ""
    try:
        return AddedFolder.open(run.added, origin).table, ""
    except InputError as fault:
        return None, f"items that were added before are discarded: {fault.where}: {fault.problem}"


def _write(folder: Path, trained: TrainedRun, config: Config, table: pl.DataFrame) -> NDArray[np.bool_]:
    """Fill an empty folder; returns which added items have a CF vector, bool [A]."""
    items, item_IE = trained.items, trained.item_IE
    hash_W, count_XW = words_of(pl.concat([items.texts, table["text"]]), items.queries)
    title_AT = token_table(items.tokenizer, table["text"].to_list(), items.title_IT.shape[1])
    index = CatalogueIndex.open(trained.folder.index)
    item_AE = vectors_by_text(title_AT, index.views["semantic"], np.asarray(index.weighted_VD), item_IE)
    item_AH = tower_vectors(trained.model, item_AE, title_AT)
    table.write_parquet(folder / TABLE)
    _write_both(folder / TITLES, items.title_IT, title_AT)
    _write_both(folder / CF, item_IE, item_AE)
    (folder / LISTS).mkdir()
    TextLists.build(hash_W, count_XW).save(folder / LISTS)
    (folder / INDEX).mkdir()
    write_index(
        folder / INDEX,
        item_IE=open_array(folder / CF, REMEDY),
        item_IH=np.concatenate([index.item_IH, item_AH]),
        title_IT=open_array(folder / TITLES, REMEDY),
        token_VD=trained.model.token_embeddings().detach().float().cpu().numpy(),
        config=config.retrieval,
        seed=config.seed,
    )
    return np.any(item_AE != 0, axis=1)


def _write_both(path: Path, log_IE: np.ndarray, added_AE: np.ndarray) -> None:
    """Write the rows of the log's items and those of the added ones as one array, block by block."""
    shape = (len(log_IE) + len(added_AE), log_IE.shape[1])
    write_rows(path, shape, chain(row_blocks(log_IE), row_blocks(added_AE)), log_IE.dtype.str)
