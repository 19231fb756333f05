import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from gensr_dist.data.sources.json_lines import look, read_blocks
from gensr_dist.errors import InputError

SCHEMA: dict[str, pl.DataType] = {"id": pl.String(), "n": pl.Int64()}
LINES = [json.dumps({"id": f"row {n}", "n": n, "more": [n]}) for n in range(100)]


def write(folder: Path, lines: list[str]) -> str:
    path = folder / "lines.json.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    return str(path)


def rows_within(file: str, most: int) -> int:
    return sum(block.rows.height for block in read_blocks(file, SCHEMA, required=("id",), most=most))


def test_most_bounds_where_lines_begin(tmp_path: Path) -> None:
    file = write(tmp_path, LINES)
    length = len(LINES[0]) + 1
    assert [rows_within(file, most) for most in (1, length - 1, length + 1, 2 * length - 1)] == [1, 1, 2, 2]
    assert rows_within(file, 0) == rows_within(file, 1_000_000) == 100


def test_a_fault_beyond_most_is_not_met(tmp_path: Path) -> None:
    file = write(tmp_path, [*LINES[:50], "{", *LINES[50:]])
    assert rows_within(file, 1_000) > 20
    with pytest.raises(InputError, match=r"lines.json.gz:51: expected a JSON object"):
        rows_within(file, 0)


def test_look_shows_values_as_they_are_written(tmp_path: Path) -> None:
    lines = ['{"id": {"a": 1}, "stars": 5}', '{"n": "seven"}', "{'id': None}"]
    names, first = look(write(tmp_path, lines), ("id", "n", "absent"), 2)
    assert names == ("id", "stars", "n")
    assert first.rows() == [("{'a': 1}", ""), ("", "seven")]


def test_look_shows_half_a_surrogate_pair(tmp_path: Path) -> None:
    file = write(tmp_path, ['{"id": "cut \\ud83d", "n": 1}'])
    assert look(file, ("id",), 1).first.rows() == [("cut ?",)]


def test_look_at_a_damaged_file(tmp_path: Path) -> None:
    file = Path(write(tmp_path, LINES))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="the gzip file is cut short or damaged"):
        look(str(file), ("id",), 2)


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [(b"PK\x03\x04\x14\0", "a zip archive"), (gzip.compress(b"{}"), "gzip within")],
    ids=["zip", "gzip"],
)
def test_archives_are_called_what_they_are(tmp_path: Path, beginning: bytes, kind: str) -> None:
    file = tmp_path / "lines.json.gz"
    file.write_bytes(gzip.compress(beginning))
    with pytest.raises(InputError, match=f"lines.json.gz: the file is {kind}.*, expected UTF-8 text; unpack it"):
        rows_within(str(file), 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"id": "a"}, indent=1), "'{'"),
        ('[\n{"id": "a"}\n]\n', "'['"),
        ('[{"id": "a"}]\n', "list"),
        ('{"id": "a"},\n', "tuple"),
        ('{"id": "a"} {"id": "b"}\n', """'{"id": "a"} {"id": "b"}'"""),
        ("<!DOCTYPE html>\n", "'<!DOCTYPE html>'"),
    ],
)
def test_what_is_not_one_object_a_line(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "lines.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        rows_within(str(file), 0)
    remedy = "write one object a line, and leave out lines that are none"
    assert str(caught.value) == f"{file}:1: expected a JSON object, found {found}; {remedy}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_wide_text_is_called_so(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "lines.json"
    file.write_bytes(LINES[0].encode(encoding))
    with pytest.raises(InputError, match="the file is UTF-16 or holds zero bytes, expected UTF-8 text; save"):
        rows_within(str(file), 0)


@pytest.mark.parametrize("beside", ['{"id": "b"}', "{'id': 'b'}", '{"id": "\\ude00\\ud83d"}'])
def test_half_a_surrogate_pair_is_the_same_whatever_stands_beside_it(tmp_path: Path, beside: str) -> None:
    file = write(tmp_path, ['{"id": "cut \\ud83d"}', beside])
    (block,) = read_blocks(file, SCHEMA, required=("id",))
    assert block.rows["id"].to_list() == ["cut \0", "\0\0" if "ude00" in beside else "b"]
