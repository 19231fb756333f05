"""The item store: texts and token ids of all items and queries, and the raw ids, mapped from disk.

Dimensions: I items, T title tokens, Q queries (rows), query_QT their tokens, B items of a block, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.shards.manifest import TOKENIZER, Manifest
from gensr_dist.data.shards.verify import check_item_store
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.checked_files import REMEDY
from gensr_dist.storage.folder import Folder

PAD, UNKNOWN = 0, 2  # token ids of T5 and of a corpus tokenizer

_BLOCK = 1 << 16  # titles at a time


@dataclass(frozen=True)
class ItemStore:
    """What the model and the answers need to know of items and queries. Texts and raw ids are read on first use."""

    title_IT: np.ndarray  # int32, 0 is padding; mapped
    query_QT: np.ndarray  # int32, 0 is padding; mapped
    popularity_I: np.ndarray  # uint32: positive training events of each item
    files: Mapping[str, Path]  # every file of `items/` and `tokenizer/`, by its name below the shard folder

    @classmethod
    def open(cls, shards: Folder) -> Self:
        """Map the store of a shard folder; of a remote one, checked copies that stay in the cache meanwhile.

        Raises:
            InputError: it is missing, damaged, or was made with another vocabulary than the shards.
        """
        manifest = Manifest.read(shards)
        check_item_store(shards, manifest)
        files = {file.name: shards.keep(file.name, file.sha256, file.bytes) for file in manifest.files}
        return cls(
            title_IT=open_array(files["items/title_tokens.npy"], REMEDY),
            query_QT=open_array(files["items/query_tokens.npy"], REMEDY),
            popularity_I=np.load(files["items/popularity.npy"], allow_pickle=False),
            files=files,
        )

    @cached_property
    def title_length_I(self) -> NDArray[np.uint16]:
        """Tokens of each item's title, and 0 as the last entry, for the item -1 of padding; [I + 1]."""
        length_I = np.zeros(len(self.title_IT) + 1, dtype=np.uint16)
        for start in range(0, len(self.title_IT), _BLOCK):
            block_BT = np.asarray(self.title_IT[start : start + _BLOCK])
            length_I[start : start + len(block_BT)] = np.count_nonzero(block_BT, axis=1)
        return length_I

    @cached_property
    def item_ids(self) -> pl.Series:
        """Raw id of each item, String [I]."""
        return pl.read_parquet(self.files["items/items.parquet"], glob=False, columns=["item_id"]).to_series()

    @cached_property
    def texts(self) -> pl.Series:
        """Text of each item, String [I]."""
        return pl.read_parquet(self.files["items/items.parquet"], glob=False, columns=["text"]).to_series()

    @cached_property
    def users(self) -> pl.Series:
        """Raw id of each user, String."""
        return pl.read_parquet(self.files["items/users.parquet"], glob=False).to_series()

    @cached_property
    def queries(self) -> pl.Series:
        """Text of each query, String [Q]."""
        return pl.read_parquet(self.files["items/queries.parquet"], glob=False).to_series()

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that made the tokens.

        Raises:
            InputError: it is none.
        """
        files = {name: path for name, path in self.files.items() if name.startswith("tokenizer/")}
        try:
            return TextTokenizer({Path(name).name: path.read_bytes() for name, path in files.items()})
        except ValueError as error:
            raise InputError(files.get(TOKENIZER, "tokenizer"), str(error), REMEDY) from None

    def user_row(self, user_id: str) -> int:
        """Row of a raw user id.

        Raises:
            InputError: no such user was prepared.
        """
        row = self.users.index_of(user_id)
        if row is None:
            raise InputError(
                f"user {user_id!r}",
                f"no such user among the {len(self.users)} prepared ones (those with too few interactions are dropped)",
                f"give the raw id of one of them, for example {self.users[0]!r}",
            )
        return int(row)


def token_idf(title_IT: NDArray[np.int32], vocabulary: int) -> NDArray[np.float32]:
    """Inverse document frequency of each token among titles, log((1 + I) / (1 + titles with it)), [V].

    Padding and unknown tokens weigh nothing.
    """
    titles_V = np.zeros(vocabulary, dtype=np.int64)
    for start in range(0, len(title_IT), _BLOCK):
        sorted_BT = np.sort(title_IT[start : start + _BLOCK], axis=1)
        first_BT = np.diff(sorted_BT, axis=1, prepend=PAD) != 0  # a token counts once a title
        titles_V += np.bincount(sorted_BT[first_BT], minlength=vocabulary)
    idf_V = np.log((1 + len(title_IT)) / (1 + titles_V)).astype(np.float32)
    idf_V[[PAD, UNKNOWN]] = 0
    return idf_V
