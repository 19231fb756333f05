import gzip
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.chunks import Advance, Chunk
from gensr_dist.data.sources.columns import Column, parse_integer, parse_milliseconds, time_column
from gensr_dist.data.sources.parts import cut_table, read_parts
from gensr_dist.data.sources.reading import Rows, cut_file, look, read_chunk
from gensr_dist.data.sources.texts import parse_text
from gensr_dist.errors import InputError

COLUMNS = (
    Column(name="id", expected="an integer of 0 or more", parse=parse_integer),
    Column(name="text", expected="text", parse=parse_text, required=False, empty=True),
)


def load(chunk: Chunk, advance: Advance) -> Rows:
    return read_chunk(chunk, COLUMNS, advance=advance)


def read_rows(path: Path) -> Rows:
    return read_parts(cut_table(str(path), load, map))


def write(folder: Path, content: bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"id,text\n1,a\n2,b\n",
        b"\xef\xbb\xbfid,text\n1,a\n2,b\n",
        b"id,text\r\n1,a\r\n2,b\r\n",
        b"id,text\r\n1,a\n2,b\r\n",
        b"id,text\n1,a\r\n2,b\n",
        b'other,text,id\n"x,y",a,1\n,"b",2.0\n',
        gzip.compress(b"id,text\n1,a\n2,b\n"),
    ],
    ids=["plain", "bom", "crlf", "mixed", "mixed2", "order and quotes", "gzip"],
)
def test_same_rows_from_every_way_of_writing_them(tmp_path: Path, content: bytes) -> None:
    rows = read_rows(write(tmp_path, content))
    assert rows.frame.rows() == [(1, "a"), (2, "b")]
    assert rows.repairs == ()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_last_line_without_end_is_counted(tmp_path: Path, zipped: bool) -> None:
    content = b"id,text\n1,a\n2,b"
    rows = read_rows(write(tmp_path, gzip.compress(content) if zipped else content))
    assert rows.frame.rows() == [(1, "a"), (2, "b")]
    assert rows.repairs == (Repair("last line of log.csv kept, which has no line end (it may be cut)", 1),)


def test_blank_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, b"id,text\n\n1,a\n\n2,\n\n"))
    assert rows.frame.rows() == [(1, "a"), (2, None)]
    assert rows.repairs == (Repair("blank rows of log.csv dropped", 3),)


def test_absent_optional_column_reads_as_null(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, b"id\n1\n")).frame.rows() == [(1, None)]


def test_text_is_put_on_one_line(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, b'id,text\n1," a\n  b "\n')).frame["text"].to_list() == ["a b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path}: the file is empty, expected a header and rows; give a log with rows"),
        (
            b"id,text\n",
            "{path}: the file has no rows, expected at least one below the header; give a log with rows",
        ),
        (
            b"ID;text\n1;a\n",
            "{path}: missing column id, found one column, 'ID;text'; name the columns in the first line, separated by "
            "commas, as the fields of all rows",
        ),
        (
            b"id\ttext\n1\ta\n",
            "{path}: missing column id, found one column, 'id\\ttext'; name the columns in the first line, separated "
            "by commas, as the fields of all rows",
        ),
        (
            b"id,text\n1,a\nx7,b\n",
            "{path}:3: id is 'x7', expected an integer of 0 or more; correct or remove rows like this one",
        ),
        (
            b"id,text\n-1,a\n",
            "{path}:2: id is '-1', expected an integer of 0 or more; correct or remove rows like this one",
        ),
        (
            b"id,text\n,a\n",
            "{path}:2: id is empty, expected an integer of 0 or more; correct or remove rows like this one",
        ),
        (
            b'id,text\n1,"two\nlines"\n\n1.5,b\n',
            "{path}:5: id is '1.5', expected an integer of 0 or more; correct or remove rows like this one",
        ),
        (
            b"id,text\n1,a\n2,b,c\n",
            "{path}:3: 3 fields, expected 2 as in the header, found '2,b,c'; quote fields that hold commas",
        ),
        (
            b"id,text\n1,a\n(1 row)\n",
            "{path}:3: 1 fields, expected 2 as in the header, found '(1 row)'; complete or remove this row",
        ),
        (b"id,text\n1,a\n2,\xff\xfe\n", "{path}:3: the line is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_one_line_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\xe2\x80\x8b\n1,a\n", r"the name 'text\\u200b' of a column has characters that cannot be seen, expe"),
        (b'id,"\xef\xbb\xbftext"\n1,a\n', r"the name '\\ufefftext' of a column has characters that cannot be seen"),
        (b"\xef\xbb\xbf\xef\xbb\xbfid,text\n1,a\n", r"the name '\\ufeffid' of a column has characters that cannot be"),
        (b"id,te\xe3\x85\xa4xt \n1,a\n", r"the name 'te\\u3164xt ' of a column has characters that cannot be seen"),
        (b"id,\xef\xbb\xbfText\n1,a\n", r"the name '\\ufeffText' of a column is written otherwise than 'text'"),
        (b"id, text\n1,a\n", "the name ' text' of a column has blanks around it, expected 'text'; remove the blanks"),
    ],
)
def test_names_that_only_look_like_a_column_s(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(write(tmp_path, content))


def test_a_mark_in_a_name_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "\ufefftext": ["a"]}), tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"log.parquet: the name '\\ufefftext' of a column has characters that cannot"):
        read_rows(tmp_path / "log.parquet")


@pytest.mark.parametrize(
    ("beginning", "kind", "remedy"),
    [
        (
            b"PK\x03\x04\x14\0\0\0",
            "a zip archive or a spreadsheet (.xlsx)",
            "unpack it, or save the sheet as CSV in UTF-8",
        ),
        (
            b"PAR1\x15\0",
            "Parquet",
            "write it as text, or give it a name that ends in .parquet if it is one of your own tables",
        ),
        (gzip.compress(b"id\n1\n"), "gzip within gzip", "unpack it once"),
        (b"\x28\xb5\x2f\xfd\0\0", "compressed in another way than gzip", "unpack it"),
        ("id\n1\n".encode("utf-16"), "UTF-16 or holds zero bytes", "save the file as UTF-8"),
    ],
    ids=["zip", "parquet", "gzip", "zstd", "utf-16"],
)
def test_what_is_no_text_is_named(tmp_path: Path, beginning: bytes, kind: str, remedy: str) -> None:
    path = write(tmp_path, gzip.compress(beginning), "log.csv.gz")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}: the file is {kind}, expected UTF-8 text; {remedy}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'"id,text\n1,a\n2,b\n', "a quote in the names of columns is opened and not closed; close or remove it"),
        (b'id,te"xt\n1,a\n2,b\n', "a quote in the names of columns is opened and not closed; close or remove it"),
        (b'id,te"xt\n1,a\n2,"b\n3,c\n', "a quote within the names of columns, 'id,te\"xt'; put quotes around whole"),
        (b'id,"text\n1,a\n2,b"\n3,c\n', "the name 'text 1,a 2,b' of a column goes over several lines and holds commas"),
    ],
)
def test_a_stray_quote_in_the_header(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"log.csv: {message}"):
        read_rows(write(tmp_path, content))


def test_a_name_of_two_lines(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, b'id,"of\ntwo",text\n1,x,a\n')).frame.rows() == [(1, "a")]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.csv: the file does not exist; check the folder given as data\.raw"):
        read_rows(tmp_path / "log.csv")


@pytest.mark.parametrize("content", [b'id,text\n1,"a\n2,b\n', b'id,text\n1,5" a\n', b'id,text\n1,"a'])
def test_unclosed_quote(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"log\.csv:2: a quote is opened and not closed; write a quote within"):
        read_rows(write(tmp_path, content))


def test_odd_quotes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.csv:3: expected a CSV record, found .2,\"a\"b.; check its quotes"):
        read_rows(write(tmp_path, b'id,text\n1,a\n2,"a"b\n3,c\n'))


@pytest.mark.parametrize("left", [1, 4, 8, 100, 1000])
def test_gzip_cut_short(tmp_path: Path, left: int) -> None:
    content = gzip.compress(b"id,text\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 10007) for i in range(3000)))
    path = write(tmp_path, content[:-left], "log.csv.gz")
    with pytest.raises(InputError, match=r"log\.csv\.gz: the gzip file is cut short or damaged .*; copy or download"):
        read_rows(path)


def test_bad_value_in_gzip_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.csv\.gz:3: id is 'x'"):
        read_rows(write(tmp_path, gzip.compress(b"id\n1\nx\n"), "log.csv.gz"))


def test_first_bad_line_of_a_long_file(tmp_path: Path) -> None:
    rows = [f"{i},t" for i in range(200_000)]
    rows[123_456] = "oops,t"
    rows[199_999] = "later,t"
    with pytest.raises(InputError, match=r"log\.csv:123458: id is 'oops'"):
        read_rows(write(tmp_path, ("id,text\n" + "\n".join(rows)).encode()))


def test_order_of_rows_is_kept(tmp_path: Path) -> None:
    ids = list(range(200_000, 0, -1))
    path = write(tmp_path, ("id\n" + "\n".join(map(str, ids))).encode())
    assert read_rows(path).frame["id"].to_list() == ids


def test_parquet_of_any_scalar_types(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"id": [1.0, 2.0], "text": [3, None]}).write_parquet(path)
    assert read_rows(path).frame.rows() == [(1, "3"), (2, None)]


def test_parquet_errors(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"id": [[1]]}).write_parquet(path)
    with pytest.raises(InputError, match=r"log\.parquet: column id is List\(Int64\), expected an integer"):
        read_rows(path)
    pl.DataFrame({"id": ["1", "x"]}).write_parquet(path)
    with pytest.raises(InputError, match=r"log\.parquet row 2: id is 'x', expected an integer"):
        read_rows(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"log\.parquet: the file cannot be read"):
        read_rows(path)


@pytest.mark.parametrize("dictionary", [False, True])
def test_parquet_text_that_is_not_utf8(tmp_path: Path, dictionary: bool) -> None:
    path = tmp_path / "log.parquet"
    raw = pa.array([b"a", b"b", b"caf\xe9", b"d", b"\xff"])
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    table = pa.table({"id": [1, 2, 3, 4, 5], "text": texts.dictionary_encode() if dictionary else texts})
    pq.write_table(table, path, row_group_size=2)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == (f"{path} row 3: text is no UTF-8 text (b'caf\\xe9'); write the column as UTF-8 text")


def test_a_name_of_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"id": [1], "more": ["a"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"more", b"mo\xff\xe9"))
    with pytest.raises(
        InputError, match=r"log.parquet: the name b'mo\\xff\\xe9' of a column is no UTF-8 text; write the"
    ):
        read_rows(path)


@pytest.mark.parametrize(("dtype", "most"), [(np.float16, 1 << 11), (np.float32, 1 << 24), (np.float64, 1 << 53)])
def test_parquet_floats_that_are_not_exact(tmp_path: Path, dtype: type, most: int) -> None:
    path = tmp_path / "log.parquet"
    columns = (replace(COLUMNS[0], exact=True),)
    for value in (1.5, 2 * most):
        pq.write_table(pa.table({"id": np.array([1, most, value], dtype=dtype)}), path)
        with pytest.raises(InputError, match=r"log\.parquet row 3: id is .*, a Float\d\d that is not exact"):
            read_chunk(cut_file(path)[0], columns)
    pq.write_table(pa.table({"id": np.array([1, most], dtype=dtype)}), path)
    assert read_chunk(cut_file(path)[0], columns).frame["id"].to_list() == [1, most]


def test_parquet_types_of_no_text(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    when = pa.array([1_700_000_000_000], pa.timestamp("ms"))
    for values, message in (
        (when, r"column text is Datetime\(.*\), expected text; write it as text$"),
        (when.cast(pa.date32(), safe=False), "column text is Date, expected text; write it as text$"),
        (pa.array([1], pa.decimal256(50, 0)), r"column text is decimal256\(50, 0\); write it as text or number$"),
    ):
        pq.write_table(pa.table({"id": [1], "text": values}), path)
        with pytest.raises(InputError, match=message):
            read_rows(path)
    pq.write_table(pa.table({"id": when}), path)
    time_of = time_column("id", role="time", expected="milliseconds", parse=parse_milliseconds)
    assert read_chunk(cut_file(path)[0], (time_of,)).frame["id"].to_list() == [1_700_000_000_000]


def test_parquet_flags_are_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"id": [True, False]}), path)
    with pytest.raises(InputError, match=r"log.parquet: column id is Boolean, expected an integer of 0 or more;"):
        read_chunk(cut_file(path)[0], (replace(COLUMNS[0], exact=True),))


def test_a_look_at_times_that_no_calendar_has(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.parquet"
    times = pa.array([1_684_713_600_120_000, (1 << 63) - 1], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": times}), path)
    assert look(str(path), COLUMNS, 2).first["id"][0].startswith("2023-05-22 00:00:00.12")
    assert capfd.readouterr().err == ""


def test_milliseconds() -> None:
    soon = str(int(time.time() * 1000) + 1000)
    late = str(int(time.time() * 1000) + 2 * 86_400_000)
    texts = ["1684713600123", "1684713600123.0", soon, "1.6847136e12", "0", "-1", "-0.5", late, "nan", "inf", "x", None]
    values = pl.select(parse_milliseconds(pl.lit(pl.Series(texts)))).to_series().to_list()
    assert values == [1684713600123, 1684713600123, int(soon), *[None] * 9]
