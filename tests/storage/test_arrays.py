import errno
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.errors import InputError
from gensr_dist.storage.arrays import open_array, write_rows


def test_rows_in_blocks_are_an_array(tmp_path: Path) -> None:
    table = np.random.default_rng(0).random((7, 3))
    write_rows(tmp_path / "a.npy", table.shape, (table[:4], table[4:].T.copy().T))
    found = open_array(tmp_path / "a.npy", "write it")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, table.astype(np.float32))


def test_an_array_without_elements_is_opened_too(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.npy", (0, 3), ())
    assert open_array(tmp_path / "a.npy", "write it").shape == (0, 3)


@pytest.mark.parametrize("content", [None, b"", b"no array", "pickled", "cut"])
def test_what_is_no_array_is_one_line(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], dtype=object) if content == "pickled" else np.zeros(100), allow_pickle=True)
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(
        InputError, match=r"a\.npy: (the file does not exist|expected an npy array \(.*\)); write it"
    ) as caught:
        open_array(path, "write it")
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_not_called_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    path.write_text("{}")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(np, "load", refused)
    with pytest.raises(InputError, match=r"the file cannot be read \(Permission denied\); check its permissions"):
        open_array(path, "write it")
