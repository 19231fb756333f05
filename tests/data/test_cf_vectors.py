"""CF vectors on disk."""

import json

import numpy as np
import pytest

from gensr_dist.data import cf_vectors as vectors
from gensr_dist.data.cf_vectors import load_cf, save_cf
from gensr_dist.errors import InputError

RECORD = {"seed": 7, "settings": {"width": 4, "folds": 0}, "result": {"items": 3, "users": 2}}
WIDER = {**RECORD, "settings": {"width": 5, "folds": 0}}
FOLDED = {**RECORD, "settings": {"width": 4, "folds": 2}}


def save(folder):
    items = np.arange(12, dtype=np.float32).reshape(3, 4)
    users = -np.ones((2, 4), dtype=np.float32)
    save_cf(folder, items, users, RECORD)
    return items, users


def test_round_trip_and_replacement(tmp_path):
    save_cf(tmp_path / "cf", np.zeros((3, 4)), np.zeros((2, 4)), RECORD)
    items, users = save(tmp_path / "cf")
    vectors, loaded_users = load_cf(tmp_path / "cf", folds=True)
    assert isinstance(vectors.whole_IE, np.memmap)
    assert (vectors.folds, vectors.seed) == (0, 7)
    np.testing.assert_array_equal(vectors.whole_IE, items)
    np.testing.assert_array_equal(loaded_users, users)
    assert [path.name for path in tmp_path.iterdir()] == ["cf"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("items.npy", None, "does not exist"),
        ("users.npy", b"", "expected an npy array"),
        ("items.npy", b"not an array", "expected an npy array"),
        ("lightgcn.json", None, "does not exist"),
        ("lightgcn.json", b"{}", "expected the record of CF vectors, seed"),
        ("lightgcn.json", b"[", "expected a JSON file"),
        (
            "lightgcn.json",
            json.dumps({**RECORD, "settings": {"width": 5, "folds": 0}}).encode(),
            r"expected float32 \(3, 5\)",
        ),
    ],
)
def test_faults_are_one_line_input_errors(tmp_path, name, content, problem):
    save(tmp_path / "cf")
    path = tmp_path / "cf" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        load_cf(tmp_path / "cf", folds=True)
    assert str(tmp_path / "cf") in str(caught.value)
    assert "run the lightgcn stage" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_and_truncated_arrays_are_refused(tmp_path):
    save(tmp_path / "cf")
    path = tmp_path / "cf" / "items.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"items\.npy"):
        load_cf(tmp_path / "cf", folds=True)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"items\.npy"):
        load_cf(tmp_path / "cf", folds=True)


def save_folds(folder):
    tables = [np.full((3, 4), fold + 1.5, dtype=np.float32) for fold in range(2)]
    save_cf(folder, np.zeros((3, 4)), np.zeros((2, 4)), FOLDED, ([table[:2], table[2:]] for table in tables))
    return tables


def test_tables_without_folds_are_opened_for_those_who_ask(tmp_path):
    tables = save_folds(tmp_path / "cf")
    vectors, _ = load_cf(tmp_path / "cf", folds=True)
    assert vectors.folds == 2
    for found, expected in zip(vectors.without_fold, tables, strict=True):
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, expected)
    for fold in range(2):
        (tmp_path / "cf" / f"items_without_{fold}.npy").unlink()
    vectors, _ = load_cf(tmp_path / "cf", folds=False)  # answers need no more
    assert vectors.folds == 0


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("items_without_1.npy", None, "lightgcn.json: is of 2 folds, found tables of 1"),
        ("items_without_2.npy", "copy", "lightgcn.json: is of 2 folds, found tables of 3"),
        ("items_without_0.npy", b"", "items_without_0.npy: expected an npy array"),
        ("items_without_1.npy", "nan", "items_without_1.npy: holds values that are not finite"),
        ("items_without_1.npy", "wide", r"items_without_1.npy: expected float32 \(3, 4\), found float32 \(3, 5\)"),
        ("lightgcn.json", json.dumps({**FOLDED, "settings": {"width": 4}}).encode(), r"CF vectors, settings\.folds"),
        ("lightgcn.json", json.dumps({**FOLDED, "seed": None}).encode(), "expected the record of CF vectors, seed"),
    ],
)
def test_faults_of_folds_are_one_line_input_errors(tmp_path, name, content, problem):
    tables = save_folds(tmp_path / "cf")
    path = tmp_path / "cf" / name
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        tables[1][0, 0] = np.nan if content == "nan" else 0
        np.save(path, np.zeros((3, 5), dtype=np.float32) if content == "wide" else tables[1])
    with pytest.raises(InputError, match=problem) as caught:
        load_cf(tmp_path / "cf", folds=True)
    assert "run the lightgcn stage" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["items.npy", "users.npy"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 4, 5, 10])
def test_values_that_are_not_finite_are_refused_in_every_block(tmp_path, monkeypatch, name, value, row):
    monkeypatch.setattr(vectors, "_ROWS", 5)  # 11 rows are two whole blocks and a part of one
    tables = {"items.npy": np.ones((11, 4)), "users.npy": np.ones((11, 4))}
    record = {**RECORD, "result": {"items": 11, "users": 11}}
    save_cf(tmp_path / "cf", tables["items.npy"], tables["users.npy"], record)
    load_cf(tmp_path / "cf", folds=True)
    tables[name][row, 3] = value
    save_cf(tmp_path / "cf", tables["items.npy"], tables["users.npy"], record)
    with pytest.raises(InputError, match=rf"{name}: holds values that are not finite; run the lightgcn stage"):
        load_cf(tmp_path / "cf", folds=True)


def test_the_check_of_a_large_file_holds_one_block_at_a_time(tmp_path, monkeypatch):
    blocks = []
    monkeypatch.setattr(
        np, "isfinite", lambda block, isfinite=np.isfinite: blocks.append(block.size) or isfinite(block)
    )
    record = {**RECORD, "result": {"items": 150_000, "users": 2}}
    save_cf(tmp_path / "cf", np.ones((150_000, 4)), np.ones((2, 4)), record)
    load_cf(tmp_path / "cf", folds=True)
    assert max(blocks) <= 65_536 * 4
    assert sum(blocks) == 150_002 * 4
