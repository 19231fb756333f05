"""Writing the item store: texts, token ids, training counts and raw ids of all items and queries.

Dimensions: I items, T tokens a text.
"""

import os
from pathlib import Path

import numpy as np
import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Repair
from gensr_dist.data.preparation.engine import CleanLog
from gensr_dist.data.preparation.token_table import fill_token_table
from gensr_dist.data.shards.manifest import vocabulary_fingerprint
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.storage.output_errors import numbered_errors
from gensr_dist.storage.records import write_json


def write_item_store(
    folder: Path, log: CleanLog, tokenizer: TextTokenizer, popularity_I: np.ndarray, config: DataConfig
) -> tuple[Repair, ...]:
    """Write `items/` and `tokenizer/` below `folder`; returns how many texts hold no token.

    Args:
        folder: a shard folder that is being made.
        log: its tables.
        tokenizer: reads the texts.
        popularity_I: uint32, positive training events of each item.
        config: kept tokens an item and a query.
    """
    tokenizer.save(folder / "tokenizer")
    store = folder / "items"
    store.mkdir()
    _write_parquet(store / "items.parquet", log.items.select("item_id", "text"))
    _write_parquet(store / "users.parquet", log.users.select("user_id"))
    _write_parquet(store / "queries.parquet", log.queries.select("text"))
    np.save(store / "popularity.npy", popularity_I, allow_pickle=False)
    write_json(store / "vocabulary.json", vocabulary_fingerprint(folder / "tokenizer"))
    repairs = (
        Repair(
            "items without text: their title is all padding",
            _write_tokens(store / "title_tokens.npy", tokenizer, log.items["text"], config.title_tokens),
        ),
        Repair(
            "queries without text: their tokens are all padding",
            _write_tokens(store / "query_tokens.npy", tokenizer, log.queries["text"], config.query_tokens),
        ),
    )
    return tuple(repair for repair in repairs if repair.count)


def _write_parquet(path: Path, table: pl.DataFrame) -> None:
    with numbered_errors(path):
        table.write_parquet(path)


def _write_tokens(path: Path, tokenizer: TextTokenizer, texts: pl.Series, width: int) -> int:
    """Write an int32 table, a batch at a time; returns the number of rows that are all padding."""
    if not len(texts):  # an empty file cannot be mapped
        np.save(path, np.zeros((0, width), dtype=np.int32))
        return 0
    table_IT = np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(len(texts), width), version=(1, 0))
    with path.open("r+b") as file:  # a full disk is an error here; in the mapped file it would kill the process
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    fill_token_table(tokenizer, texts, table_IT)
    table_IT.flush()
    return int((table_IT[:, 0] == 0).sum())
