"""CF vectors on disk, float32, and `lightgcn.json`, the record of the training.

`items.npy` [I, E] and `users.npy` [V, E] are of the whole graph, `items_without_K.npy` [I, E] of the graph without the
edges of fold K's users.

Dimensions: I items, V users, E width, C rows of a block.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gensr_dist.data.item_vectors import ItemVectors, row_blocks
from gensr_dist.errors import InputError
from gensr_dist.storage.arrays import open_array, write_rows
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.records import read_record, write_json

RECORD = "lightgcn.json"

REMEDY = "run the lightgcn stage"

_ROWS = 65_536  # written and checked at once


def table_name(fold: int | str) -> str:
    """File of the items' vectors of the graph without a fold."""
    return f"items_without_{fold}.npy"


@dataclass(frozen=True)
class _Settings:
    width: int
    folds: int


@dataclass(frozen=True)
class _Result:
    items: int
    users: int


@dataclass(frozen=True)
class _Record:
    """What reading needs of `lightgcn.json`."""

    seed: int
    settings: _Settings
    result: _Result


def save_cf(
    folder: Path,
    item_IE: np.ndarray,
    user_VE: np.ndarray,
    record: dict[str, Any],
    without_fold: Iterable[Iterable[np.ndarray]] = (),
) -> None:
    """Write all tables and the record of the training in one move.

    Args:
        folder: receives them.
        item_IE: of the whole graph.
        user_VE: of the whole graph.
        record: what `lightgcn.json` says.
        without_fold: for each fold the rows of the items' table, block by block.
    """
    with durable_folder(folder) as temporary:
        write_rows(temporary / "items.npy", item_IE.shape, row_blocks(item_IE, _ROWS))
        write_rows(temporary / "users.npy", user_VE.shape, row_blocks(user_VE, _ROWS))
        for fold, blocks in enumerate(without_fold):
            write_rows(temporary / table_name(fold), item_IE.shape, blocks)
        write_json(temporary / RECORD, record)


def load_cf(folder: Path, *, folds: bool) -> tuple[ItemVectors, np.ndarray]:
    """Memory-map the CF vectors of items and users [V, E].

    Args:
        folder: of the CF vectors.
        folds: also open the tables without each fold, as training needs them; they need not be there otherwise.

    Raises:
        InputError: a file is missing, is no array, does not fit `lightgcn.json`, or holds values that are not finite.
    """
    record = read_record(folder / RECORD, _Record, "CF vectors", missing=REMEDY, wrong=REMEDY)
    names = [table_name(fold) for fold in range(record.settings.folds)] if folds else []
    found = {path.name for path in folder.glob(table_name("*"))} if folds else set()
    if found != set(names):
        raise InputError(folder / RECORD, f"is of {record.settings.folds} folds, found tables of {len(found)}", REMEDY)
    width, result = record.settings.width, record.result
    whole_IE, *without_fold = (_open(folder / name, (result.items, width)) for name in ("items.npy", *names))
    user_VE = _open(folder / "users.npy", (result.users, width))
    return ItemVectors(whole_IE, tuple(without_fold), record.seed), user_VE


def _open(path: Path, shape: tuple[int, int]) -> np.ndarray:
    array = open_array(path, REMEDY)
    if array.shape != shape or array.dtype != np.float32:
        raise InputError(path, f"expected float32 {shape}, found {array.dtype} {array.shape}", REMEDY)
    if not all(np.isfinite(rows_CE).all() for rows_CE in row_blocks(array, _ROWS)):
        raise InputError(path, "holds values that are not finite", REMEDY)
    return array
