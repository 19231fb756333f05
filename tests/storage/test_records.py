import errno
from dataclasses import dataclass
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.storage.records import read_record, write_json


@dataclass(frozen=True)
class Inner:
    count: int


@dataclass(frozen=True)
class Record:
    name: str
    inner: tuple[Inner, ...]


def read(path: Path) -> Record:
    return read_record(path, Record, "a test", missing="write it", wrong="write it again")


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = Record("a", (Inner(1), Inner(2)))
    write_json(tmp_path / "record.json", record)
    assert read(tmp_path / "record.json") == record


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the file does not exist; write it"),
        (
            "{",
            "expected a JSON file (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); write",
        ),
        ("[" * 100_000, "expected a JSON file (maximum recursion depth exceeded"),
        ("5", "expected the record of a test, all of it: "),
        ('{"name": "a"}', "expected the record of a test, inner: Field required; write it again"),
        (
            '{"name": "a", "inner": [{"count": "many"}]}',
            "expected the record of a test, inner.0.count: Input should be a ",
        ),
    ],
)
def test_what_is_no_record_is_one_line(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_not_called_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(InputError, match=r"the file cannot be read \(Permission denied\); check its permissions"):
        read(path)
