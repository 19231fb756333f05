"""CF vectors on disk."""

import json

import numpy as np
import pytest

from gensr_dist.errors import InputError
from gensr_dist.graph import vectors
from gensr_dist.graph.vectors import load_cf, save_cf

RECORD = {"settings": {"width": 4}, "result": {"items": 3, "users": 2}}


def save(folder):
    items = np.arange(12, dtype=np.float32).reshape(3, 4)
    users = -np.ones((2, 4), dtype=np.float32)
    save_cf(folder, items, users, RECORD)
    return items, users


def test_round_trip_and_replacement(tmp_path):
    save_cf(tmp_path / "cf", np.zeros((3, 4)), np.zeros((2, 4)), RECORD)
    items, users = save(tmp_path / "cf")
    loaded_items, loaded_users = load_cf(tmp_path / "cf")
    assert isinstance(loaded_items, np.memmap)
    np.testing.assert_array_equal(loaded_items, items)
    np.testing.assert_array_equal(loaded_users, users)
    assert [path.name for path in tmp_path.iterdir()] == ["cf"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("items.npy", None, "does not exist"),
        ("users.npy", b"", "expected an npy array"),
        ("items.npy", b"not an array", "expected an npy array"),
        ("lightgcn.json", None, "does not exist"),
        ("lightgcn.json", b"{}", "expected settings.width"),
        ("lightgcn.json", b"[", "expected a JSON file"),
        ("lightgcn.json", json.dumps({**RECORD, "settings": {"width": 5}}).encode(), r"expected float32 \(3, 5\)"),
    ],
)
def test_faults_are_one_line_input_errors(tmp_path, name, content, problem):
    save(tmp_path / "cf")
    path = tmp_path / "cf" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        load_cf(tmp_path / "cf")
    assert str(tmp_path / "cf") in str(caught.value)
    assert "run the lightgcn stage" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_and_truncated_arrays_are_refused(tmp_path):
    save(tmp_path / "cf")
    path = tmp_path / "cf" / "items.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"items\.npy"):
        load_cf(tmp_path / "cf")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"items\.npy"):
        load_cf(tmp_path / "cf")


@pytest.mark.parametrize("name", ["items.npy", "users.npy"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 4, 5, 10])
def test_values_that_are_not_finite_are_refused_in_every_block(tmp_path, monkeypatch, name, value, row):
    monkeypatch.setattr(vectors, "_ROWS", 5)  # 11 rows are two whole blocks and a part of one
    tables = {"items.npy": np.ones((11, 4)), "users.npy": np.ones((11, 4))}
    record = {"settings": {"width": 4}, "result": {"items": 11, "users": 11}}
    save_cf(tmp_path / "cf", tables["items.npy"], tables["users.npy"], record)
    load_cf(tmp_path / "cf")
    tables[name][row, 3] = value
    save_cf(tmp_path / "cf", tables["items.npy"], tables["users.npy"], record)
    with pytest.raises(InputError, match=rf"{name}: holds values that are not finite; run the lightgcn stage"):
        load_cf(tmp_path / "cf")


def test_the_check_of_a_large_file_holds_one_block_at_a_time(tmp_path, monkeypatch):
    blocks = []
    monkeypatch.setattr(
        np, "isfinite", lambda block, isfinite=np.isfinite: blocks.append(block.size) or isfinite(block)
    )
    record = {"settings": {"width": 4}, "result": {"items": 150_000, "users": 2}}
    save_cf(tmp_path / "cf", np.ones((150_000, 4)), np.ones((2, 4)), record)
    load_cf(tmp_path / "cf")
    assert max(blocks) <= 65_536 * 4
    assert sum(blocks) == 150_002 * 4
