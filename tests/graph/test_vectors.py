"""CF vectors on disk."""

import json

import numpy as np
import pytest

from gensr_dist.errors import InputError
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
