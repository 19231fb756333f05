"""Locks of files, also where the file system has none."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import locked
from gensr_dist.storage.locks import lock


def test_one_at_a_time_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert lock(first, wait=True)
        assert not lock(second, wait=False)
        first.close()
        assert lock(second, wait=False)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_not_called_another_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(file: object, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    said = r"/\.lock: its file system locks no files \(.*mount it with locks"
    with pytest.raises(InputError, match=said), locked(RunFolder(tmp_path / "run")):
        pass
