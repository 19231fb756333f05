"""The item store: texts and token ids of all items and queries, and the raw ids, mapped from disk.

Dimensions: I items, T title tokens, Q queries (rows), query_QT their tokens.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerFast
from typing_extensions import Self

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog, Repair
from gensr_dist.data.manifest import Manifest, vocabulary_fingerprint
from gensr_dist.data.tokenizer import fill_token_table, load_tokenizer
from gensr_dist.data.verify import check_item_store
from gensr_dist.errors import InputError
from gensr_dist.files import write_json


def write_item_store(
    folder: Path, log: EventLog, tokenizer: PreTrainedTokenizerFast, config: DataConfig
) -> tuple[Repair, ...]:
    """Write `items/` and `tokenizer/` below `folder`; returns how many texts hold no token."""
    tokenizer.save_pretrained(folder / "tokenizer")
    store = folder / "items"
    store.mkdir()
    log.items.select("item_id", "text").write_parquet(store / "items.parquet")
    log.users.select("user_id").write_parquet(store / "users.parquet")
    log.queries.select("text").write_parquet(store / "queries.parquet")
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


def _write_tokens(path: Path, tokenizer: PreTrainedTokenizerFast, texts: pl.Series, width: int) -> int:
    """Write an int32 table, a batch at a time; returns the number of rows that are all padding."""
    if not len(texts):  # an empty file cannot be mapped
        np.save(path, np.zeros((0, width), dtype=np.int32))
        return 0
    table_IT = np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(len(texts), width), version=(1, 0))
    fill_token_table(tokenizer, texts, table_IT)
    table_IT.flush()
    return int((table_IT[:, 0] == 0).sum())


@dataclass(frozen=True)
class ItemStore:
    """What the model and the answers need to know of items and queries."""

    title_IT: np.ndarray  # int32, 0 is padding; mapped
    query_QT: np.ndarray  # int32, 0 is padding; mapped
    item_ids: pl.Series  # String [I]
    texts: pl.Series  # String [I]
    users: pl.Series  # String: raw id of each user row
    queries: pl.Series  # String [Q]
    tokenizer_folder: Path

    @classmethod
    def open(cls, shards: Path) -> Self:
        """Map the store of a shard folder.

        Raises:
            InputError: it is missing, damaged, or was made with another vocabulary than the shards.
        """
        check_item_store(shards, Manifest.read(shards))
        store = shards / "items"
        items = pl.read_parquet(store / "items.parquet")
        return cls(
            title_IT=_map(store / "title_tokens.npy"),
            query_QT=_map(store / "query_tokens.npy"),
            item_ids=items["item_id"],
            texts=items["text"],
            users=pl.read_parquet(store / "users.parquet")["user_id"],
            queries=pl.read_parquet(store / "queries.parquet")["text"],
            tokenizer_folder=shards / "tokenizer",
        )

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer that made the tokens."""
        return load_tokenizer(str(self.tokenizer_folder))

    def item_row(self, item_id: str) -> int:
        """Row of a raw item id.

        Raises:
            InputError: no such item was prepared.
        """
        return _row_of(self.item_ids, item_id, "item")

    def user_row(self, user_id: str) -> int:
        """Row of a raw user id.

        Raises:
            InputError: no such user was prepared.
        """
        return _row_of(self.users, user_id, "user")


def _row_of(ids: pl.Series, wanted: str, kind: str) -> int:
    row = ids.index_of(wanted)
    if row is None:
        raise InputError(
            f"{kind} {wanted!r}",
            f"no such {kind} among the {len(ids)} prepared ones (those with too few interactions are dropped)",
            f"give the raw id of one of them, for example {ids[0]!r}",
        )
    return int(row)


def _map(path: Path) -> np.ndarray:
    """Map an array; an empty one is read."""
    array: np.ndarray = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None, allow_pickle=False)
    return array
