"""Item vectors of the whole graph and without each fold."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.data.folds import fold_of_users
from gensr_dist.data.item_vectors import WHOLE, ItemVectors, row_blocks


def tables(folds: int, items: int = 11) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(1 + folds, items, 4)).astype(np.float32))


def test_rows_are_read_from_the_table_that_is_asked_for() -> None:
    whole_IE, *without_fold = tables(3)
    vectors = ItemVectors(whole_IE, tuple(without_fold), seed=2)
    assert (len(vectors), vectors.width, vectors.folds) == (11, 4, 3)
    user_G = np.arange(40)
    assert np.array_equal(vectors.fold_of(user_G), fold_of_users(user_G, 3, 2))
    item_U = np.array([10, 0, 7, 7])
    for fold, table_IE in ((WHOLE, whole_IE), *enumerate(without_fold)):
        found_UE = np.empty((4, 4), dtype=np.float32)
        vectors.take(fold, item_U, found_UE)
        assert np.array_equal(found_UE, table_IE[item_U])


def test_without_folds_everyone_reads_the_whole() -> None:
    vectors = ItemVectors(tables(0)[0])
    assert vectors.folds == 0
    assert (vectors.fold_of(np.arange(5)) == WHOLE).all()


def test_the_digest_covers_every_table_and_the_parting() -> None:
    whole_IE, *without_fold = tables(2)
    base = ItemVectors(whole_IE, tuple(without_fold), seed=1)
    changed = without_fold[1].copy()
    changed[10, 3] += 1
    other_whole = whole_IE.copy()
    other_whole[0, 0] += 1
    others = [
        ItemVectors(other_whole, tuple(without_fold), seed=1),
        ItemVectors(whole_IE, (without_fold[0], changed), seed=1),
        ItemVectors(whole_IE, tuple(without_fold), seed=2),
        ItemVectors(whole_IE, (without_fold[0],), seed=1),
        ItemVectors(whole_IE),
    ]
    digests = {vectors.digest() for vectors in (base, *others)}
    assert len(digests) == 6
    again = ItemVectors(whole_IE.copy(), tuple(table_IE.copy() for table_IE in without_fold), seed=1)
    assert again.digest() == base.digest()
    assert ItemVectors(whole_IE).digest() == hashlib.sha256(whole_IE.data).hexdigest()


def test_the_scale_brings_the_whole_table_to_a_mean_square_of_one() -> None:
    whole_IE, *without_fold = tables(2)
    vectors = ItemVectors(whole_IE * 7, tuple(without_fold))
    assert np.mean((vectors.whole_IE * vectors.unit_scale()) ** 2) == pytest.approx(1, abs=1e-6)
    assert np.isfinite(ItemVectors(np.zeros((3, 4), dtype=np.float32)).unit_scale())


@pytest.mark.parametrize("rows", [1, 4, 11, 50])
def test_blocks_of_arrays_mappings_and_their_parts(tmp_path: Path, rows: int) -> None:
    (table_IE,) = tables(0)
    np.save(tmp_path / "table.npy", table_IE)
    mapped_IE = np.load(tmp_path / "table.npy", mmap_mode="r")
    for given_IE in (table_IE, mapped_IE, mapped_IE[3:8], mapped_IE[:, :2]):
        blocks = list(row_blocks(given_IE, rows))
        assert max(map(len, blocks)) <= rows
        assert np.array_equal(np.concatenate(blocks), given_IE)
    assert not list(row_blocks(table_IE[:0], rows))


def test_a_mapped_table_is_read_from_its_file(tmp_path: Path) -> None:
    (table_IE,) = tables(0)
    np.save(tmp_path / "table.npy", table_IE)
    mapped_IE = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert not any(np.shares_memory(rows_CE, mapped_IE) for rows_CE in row_blocks(mapped_IE, 4))
    assert ItemVectors(mapped_IE).digest() == ItemVectors(table_IE).digest()
