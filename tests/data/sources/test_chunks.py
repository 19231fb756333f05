"""However a file is cut, it gives the same rows, the same repairs and the same error."""

import csv
import gzip
import io
import pickle
import tempfile
from pathlib import Path

import fsspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Repair
from gensr_dist.data.sources import chunks
from gensr_dist.data.sources.chunks import Advance, Chunk, cut
from gensr_dist.data.sources.columns import Column, parse_integer
from gensr_dist.data.sources.parts import Part, add_repairs, cut_table, read_part
from gensr_dist.data.sources.reading import Rows, cut_file, read_chunk
from gensr_dist.data.sources.texts import parse_text
from gensr_dist.errors import InputError

COLUMNS = (
    Column(name="id", expected="an integer of 0 or more", parse=parse_integer, strict=True),
    Column(name="text", expected="text", parse=parse_text, required=False, empty=True),
)

Outcome = tuple[list[tuple[object, ...]], tuple[Repair, ...]] | str


def outcome(file: str | Path, size: int) -> Outcome:
    """Rows and repairs, or the error that a reader meets who reads chunk after chunk."""
    try:
        rows = [read_chunk(chunk, COLUMNS) for chunk in cut_file(file, size)]
    except InputError as error:
        return str(error)
    return pl.concat([part.frame for part in rows]).rows(), add_repairs(r for part in rows for r in part.repairs)


def quoted(text: str, always: bool) -> str:
    return '"' + text.replace('"', '""') + '"' if always or set(text) & set('",\r\n') else text


TEXTS = st.text(st.sampled_from(list('ab",\n\r é空')), max_size=8)
IDS = st.integers(0, 300).map(str)
RECORDS = st.lists(st.tuples(IDS, TEXTS, st.booleans(), st.sampled_from(["\n", "\r\n"])), max_size=12)
BLANKS = st.lists(st.integers(0, 11), max_size=3)
SIZES = st.integers(1, 60)


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, str | None]], tuple[Repair, ...]]:
    """A file, its rows as Python's csv module reads them, and what is counted of it."""
    records = draw(RECORDS)
    blanks = draw(BLANKS)
    lines = [f"{number},{quoted(text, always)}{end}" for number, text, always, end in records]
    for place in blanks:
        lines.insert(place, draw(st.sampled_from(["\n", "\r\n"])))
    body = "".join(lines)
    if draw(st.booleans()) and records:
        body = body.rstrip("\r\n")  # no line break at the end
    header = draw(st.sampled_from(["id,text\n", '"id","text"\r\n', "\ufeffid,text\n", "\n\nid,text\n"]))
    rows = list(csv.reader(io.StringIO(body, newline="")))
    parsed = [(int(row[0]), " ".join(row[1].split()) or None) for row in rows if row]
    empty = [(number, text if text is not None else None) for number, text in parsed]
    counted = (
        Repair("blank rows of log.csv dropped", sum(not row for row in rows)),
        Repair("line breaks within quoted fields of log.csv read as blanks", sum(r[1].count("\n") for r in rows if r)),
        Repair(
            "last line of log.csv kept, which has no line end (it may be cut)", int(bool(body) and body[-1] != "\n")
        ),
    )
    return (header + body).encode(), empty, tuple(repair for repair in counted if repair.count)


@settings(max_examples=150)
@given(file=well_formed(), size=SIZES, zipped=st.booleans())
def test_any_cut_gives_the_rows_of_the_whole_file(
    file: tuple[bytes, list[tuple[int, str | None]], tuple[Repair, ...]], size: int, zipped: bool
) -> None:
    content, rows, repairs = file
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "log.csv"
        path.write_bytes(gzip.compress(content) if zipped else content)
        patch.setattr(chunks, "CHUNK_BYTES", size)  # a gzip file is read in blocks of it
        patch.setattr(chunks, "_TAIL_BYTES", 5)
        found = outcome(path, size)
    assert isinstance(found, tuple), found
    assert [(number, text or None) for number, text in found[0]] == rows
    assert set(found[1]) == set(repairs)


FAULTS = st.sampled_from(
    [
        b"x,a\n",
        b",a\n",
        b"1,a,b\n",
        b"2,\xff\xfe\n",
        b'3,"a"b\n',
        b'4,a"b\nc"d,e\n',
        b'5,"open\n',
        b'"6\n",a\n7"\n',
        b'7,"a\n8,b"\n',
        b'"',
    ]
)


@settings(max_examples=150)
@given(
    pieces=st.lists(st.one_of(FAULTS, st.sampled_from([b"1,a\n", b'2,"b\n"\r\n', b"\n", b'3,""""\n'])), max_size=10),
    size=SIZES,
)
def test_any_cut_finds_the_same_error(pieces: list[bytes], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_bytes(b"id,text\n" + b"".join(pieces))
        assert outcome(path, size) == outcome(path, 1 << 20)


@pytest.mark.parametrize("size", [1, 7, 20, 1000])
def test_error_names_the_first_bad_line_whatever_its_fault(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b'id,text\n1,"two\nlines"\n\n2,b\nbad,c\n3,\xff\n4,a,b\n')
    assert str(outcome(path, size)).startswith(f"{path}:6: id is 'bad', expected an integer")
    path.write_bytes(b'id,text\n1,"two\nlines"\n\n2,b,c,d\nbad,c\n3,\xff\n')
    assert str(outcome(path, size)).startswith(f"{path}:5: 4 fields, expected 2 as in the header")
    path.write_bytes(b'id,text\n1,"two\nlines"\n\n2,\xff\nbad,c\n')
    assert str(outcome(path, size)).startswith(f"{path}:5: the line is not UTF-8 text")


def test_chunks_cover_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"id,text\n" + b'1,"a\n""b"\n' * 50)
    parts = cut(path, 64)
    assert len(parts) == 8
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert sum(part.size for part in parts) == path.stat().st_size - len(b"id,text\n")
    assert [part.quoted for part in parts] == [bool(path.read_bytes()[: part.start].count(b'"') % 2) for part in parts]


def test_counts_may_run_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"id,text\n" + b'1,"a\n""b"\n' * 50)
    seen: list[tuple[int, int]] = []

    def backwards(count, ranges):  # type: ignore[no-untyped-def]
        seen.extend(ranges)
        return reversed([count(within) for within in reversed(seen)])

    assert cut(path, 64, backwards) == cut(path, 64)
    assert len(seen) == 8


def test_a_quote_left_open_does_not_read_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "LONGEST_RECORD", 100)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 64)
    monkeypatch.setattr(chunks, "_TAIL_BYTES", 8)
    path = tmp_path / "log.csv"
    content = b"id,text\n" + b"1,a\n" * 20 + b'2,"open\n' + b"3,b\n" * 100
    path.write_bytes(content)
    assert "longer than" in str(outcome(path, 64))
    path.write_bytes(gzip.compress(content))
    assert "longer than" in str(outcome(path, 64))


def test_row_groups_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    frame = pl.DataFrame({"id": [str(n) for n in range(20)], "text": [None, "b"] * 10})
    frame.write_parquet(path, row_group_size=3)
    parts = cut(path, 1)
    assert [part.first_row for part in parts] == list(range(0, 20, 3))
    assert outcome(path, 1) == outcome(path, 1 << 20) == ([(n, [None, "b"][n % 2]) for n in range(20)], ())
    frame.with_columns(pl.when(pl.col("id") == "13").then(pl.lit("x")).otherwise("id").alias("id")).write_parquet(
        path, row_group_size=3
    )
    assert str(outcome(path, 1)).startswith(f"{path} row 14: id is 'x'")
    frame.head(0).write_parquet(path)
    assert outcome(path, 1) == ([], ())


def load(chunk: Chunk, advance: Advance) -> Rows:
    return read_chunk(chunk, COLUMNS, advance=advance)


@pytest.fixture(params=["log.csv", "log.csv.gz", "log.parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    frame = pl.DataFrame({"id": range(100), "text": ["a\nb"] * 100})
    if path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=9)
    else:
        content = frame.write_csv().encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_progress_counts_every_byte_once(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 50)
    told: list[int] = []
    for chunk in cut(table, 50):
        before = sum(told)
        read_chunk(chunk, COLUMNS, advance=told.append)
        assert sum(told) - before == chunk.size
    assert min(told) >= 0


def test_parts_travel(table: Path) -> None:
    parts = cut_table(str(table), load, map)
    travelled: list[Part] = pickle.loads(pickle.dumps(parts))
    frame = pl.concat([read_part(part).frame for part in travelled])
    assert frame.rows() == [(n, "a b") for n in range(100)]


def test_files_behind_a_url(table: Path) -> None:
    url = f"memory://raw/{table.name}"
    fsspec.filesystem("memory").pipe_file(url, table.read_bytes())
    assert outcome(url, 50) == outcome(table, 50)
    assert outcome("memory://raw/none.csv", 50) == (
        "memory://raw/none.csv: the file does not exist; check the folder given as data.raw"
    )
