"""Parts of a sample, and of what comes before a fault."""

import gzip
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from gensr_dist.data.config import Source
from gensr_dist.data.sources import SOURCES
from gensr_dist.data.sources.chunks import Advance, Chunk
from gensr_dist.data.sources.columns import Column, parse_integer
from gensr_dist.data.sources.parts import Sample, cut_table, read_part, read_parts, read_until_fault
from gensr_dist.data.sources.reading import Rows, look, read_chunk
from gensr_dist.errors import InputError

COLUMNS = (
    Column(name="n", expected="an integer", parse=parse_integer),
    Column(name="text", expected="text", parse=lambda text: text),
)
ROWS = [f'{n},"a\n{n}"' for n in range(400)]  # each record is on two lines


def load(chunk: Chunk, advance: Advance) -> Rows:
    return read_chunk(chunk, COLUMNS, advance=advance)


def write(folder: Path, rows: list[str], name: str = "t.csv") -> str:
    text = "\n".join(["n,text", *rows, ""]).encode()
    (folder / name).write_bytes(gzip.compress(text, 0) if name.endswith("gz") else text)
    return str(folder / name)


def numbers(file: str, sample: Sample) -> list[int]:
    parts = cut_table(file, load, map, sample=sample)
    return [n for part in parts for n in read_part(part).frame["n"]]


def test_a_sample_lies_evenly_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    found = numbers(file, Sample(most=800, piece=100))
    assert 50 < len(found) < 110
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, 399)
    quarters = {n // 100 for n in found}
    assert quarters == {0, 1, 2, 3}


def test_a_sample_of_gzip_is_its_beginning(tmp_path: Path) -> None:
    found = numbers(write(tmp_path, ROWS, "t.csv.gz"), Sample(most=800, piece=100))
    assert found == list(range(len(found)))
    assert 50 < len(found) < 110


@pytest.mark.parametrize("sample", [Sample(), Sample(piece=64), Sample(most=100_000, piece=64)])
def test_small_files_are_read_whole(tmp_path: Path, sample: Sample) -> None:
    file = write(tmp_path, ROWS)
    assert numbers(file, sample) == list(range(400))
    assert not any(part.sampled for part in cut_table(file, load, map, sample=sample))


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("at", [0, 1, 57, 399])
@pytest.mark.parametrize("wrong", ["x,b", '7,"open', "7"])
def test_everything_before_a_fault(tmp_path: Path, name: str, at: int, wrong: str) -> None:
    file = write(tmp_path, [*ROWS[:at], wrong, *ROWS[at + 1 :]], name)
    parts = cut_table(file, load, map, sample=Sample(piece=700))
    table = read_until_fault(parts)
    assert (table.rows.frame["n"].to_list() if at else []) == list(range(at))
    assert table.read_of == {file: at}
    with pytest.raises(InputError) as caught:
        read_parts(parts)
    assert str(table.fault) == str(caught.value)


def test_files_after_a_fault_are_read_too(tmp_path: Path) -> None:
    first, second = write(tmp_path, ["1,a", "x,b"], "a.csv"), write(tmp_path, ["2,c"], "b.csv")
    table = read_until_fault([*cut_table(first, load, map), *cut_table(second, load, map)])
    assert table.rows.frame["n"].to_list() == [1, 2]
    assert table.read_of == {first: 1, second: 1}
    assert "a.csv:3: n is 'x'" in str(table.fault)


def test_a_file_without_rows_is_a_fault(tmp_path: Path) -> None:
    table = read_until_fault(cut_table(write(tmp_path, []), load, map))
    assert "the file has no rows" in str(table.fault)


def test_look_shows_rows_that_do_not_parse(tmp_path: Path) -> None:
    names, first = look(write(tmp_path, ["x", '2,"say ""hi"" ', *ROWS]), COLUMNS, 1)
    assert names == ("n", "text")
    assert first.rows() == [("x", "")]
    pl.DataFrame({"more": [True, False], "n": [1.5, None]}).write_parquet(tmp_path / "t.parquet")
    names, first = look(str(tmp_path / "t.parquet"), COLUMNS, 2)
    assert names == ("more", "n")
    assert first.rows() == [("1.5",), ("None",)]
    with pytest.raises(InputError, match="the file does not exist"):
        look(str(tmp_path / "none.csv"), COLUMNS, 1)


def test_every_source_of_the_config_has_its_module() -> None:
    assert set(SOURCES) == set(get_args(Source))
