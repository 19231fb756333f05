import dataclasses
import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import CheckedFiles, DamagedError, record_files, unreadable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"content of " + name.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda file: file.unlink(), "the manifest lists this file, but it is missing"),
        (lambda file: file.write_bytes(b"con"), "the file is cut short: 3 of 12 bytes"),
        (lambda file: file.write_bytes(b"content of b and more"), "the file has grown: 21 bytes instead of 12"),
        (
            lambda file: file.write_bytes(b"Content of b"),
            "the file was changed: its checksum does not match the manifest",
        ),
    ],
)
def test_every_damage_is_one_line_with_the_remedy(folder: Path, damage: Callable[[Path], object], problem: str) -> None:
    files = CheckedFiles(files=record_files(folder))
    files.require(folder / "record.json", ("b", "a"), "make it again")
    damage(folder / "b")
    with pytest.raises(DamagedError) as caught:
        files.require(folder / "record.json", ("a", "b"), "make it again")
    assert str(caught.value) == f"{folder}/b: {problem}; make it again"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_record_of_other_files_is_refused(folder: Path) -> None:
    files = CheckedFiles(files=record_files(folder, [folder / "a"]))
    with pytest.raises(InputError, match=r"record\.json: expected records of a, b; make it again"):
        files.require(folder / "record.json", ("a", "b"), "make it again")


def test_a_forged_size_is_no_other_files_content(folder: Path) -> None:
    record = dataclasses.replace(record_files(folder)[0], bytes=5)
    damage = record.damage(folder / "a")
    assert isinstance(damage, DamagedError)
    assert (damage.size, damage.sha256) == (12, "")


@pytest.mark.parametrize(("number", "remedy"), [(errno.EMFILE, "raise the limit of open files"), (errno.EIO, "check")])
def test_what_cannot_be_read_has_the_remedy_of_its_reason(number: int, remedy: str) -> None:
    said = str(unreadable("a", OSError(number, os.strerror(number))))
    assert said.startswith(f"a: the file cannot be read ({os.strerror(number)}); {remedy}")
