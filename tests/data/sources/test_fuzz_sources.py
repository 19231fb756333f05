"""Whatever bytes a raw log holds, a source gives a valid EventLog or one line of InputError."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError

from .kuaisar_files import CATEGORY_FIELDS, write_kuaisar, write_tables

FUZZ = settings(max_examples=120)

KUAISAR_FILES = ["rec_inter.csv", "src_inter.csv", "item_features.csv", "user_features.csv"]
TABLES_FILES = ["events.csv", "items.csv"]
AMAZON_FILES = ["reviews_X_5.json", "meta_X.json"]

NUMBERS = ["0", "1", "-1", "7", "1.0", "1e3", "nan", "inf", "99999999999999999999", "1684713600000", "1700000000.5"]
TIMES = ["2024-05-01", "2024-02-31T25:00:00", "0000-00-00", "-999999-01-01", "9999-12-31T23:59:59.999999999+14:00"]
LISTS = ["[1, 2]", "[]", "[1", "[[1]]", "[1,]", "[é]", "[ ]", "[1 2]"]
WORDS = ["", " ", "true", "rec", "src", "empty", "空", "null", "\ufeff", '"', "a,b", "\r", "\x85", "\u2028"]
CELLS = st.one_of(st.sampled_from([*NUMBERS, *TIMES, *LISTS, *WORDS]), st.text(max_size=12))
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"\n",
            b"\r\n",
            b"\r",
            b",",
            b'"',
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\x1f\x8b",
            b"x\x9c",
            b"\x28\xb5\x2f\xfd",
            b"{",
            b"[",
            b"]}",
            b"-",
            b":",
        ]
    ),
)
# (where, as a share of the file; bytes cut; bytes put in their place)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), PIECES), min_size=1, max_size=4)


def read_kuaisar(folder: Path) -> EventLog:
    return read_source(DataConfig(source="kuaisar"), folder)


def read_tables(folder: Path) -> EventLog:
    return read_source(DataConfig(source="tables"), folder)


def read_amazon(folder: Path) -> EventLog:
    return read_source(DataConfig(source="amazon"), folder)


def write_amazon(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reviews_X_5.json").write_text(
        '{"reviewerID": "u1", "asin": "B1", "unixReviewTime": 1300000000}\n'
        '{"reviewerID": "u1", "asin": "B2", "unixReviewTime": 1300086400}\n'
        '{"reviewerID": "u2", "asin": "B1", "unixReviewTime": 1300000000, "overall": 5.0}\n'
    )
    (folder / "meta_X.json").write_text(
        '{"asin": "B1", "title": "Red lipstick", "brand": "X", "categories": [["Beauty", "Makeup", "Lips"]]}\n'
        "{'asin': 'B2', 'title': 'Brush', 'categories': [['Beauty', 'Tools']]}\n"
    )
    return folder


def accept_or_refuse(read: Callable[[Path], EventLog], folder: Path) -> None:
    """EventLog's own assertions check what is accepted."""
    try:
        log = read(folder)
    except InputError as error:
        refusal = str(error)
    else:
        assert log.events.height > 0
        assert all(repair.count > 0 for repair in log.repairs)
        return
    assert len(refusal.splitlines()) == 1
    assert "; " in refusal


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for share, cut, piece in edits:
        start = int(share * len(content))
        content = content[:start] + piece + content[start + cut :]
    return content


def fuzz_bytes(
    read: Callable[[Path], EventLog],
    write: Callable[[Path], Path],
    name: str,
    edits: list[tuple[float, int, bytes]],
    zipped: bool,
    kept: float,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder)) / name
        content = edited(path.read_bytes(), edits)
        if zipped:
            whole = gzip.compress(content)
            path.unlink()
            path.with_name(f"{name}.gz").write_bytes(whole[: int(len(whole) * kept)])
        else:
            path.write_bytes(content)
        accept_or_refuse(read, Path(folder))


def table(header: list[str], rows: list[list[str]]) -> str:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    return "\n".join([",".join(header), *quoted, ""])


def rows_of(width: int) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=4)


@FUZZ
@given(name=st.sampled_from(KUAISAR_FILES), edits=EDITS)
def test_kuaisar_edited_bytes(name: str, edits: list[tuple[float, int, bytes]]) -> None:
    fuzz_bytes(read_kuaisar, write_kuaisar, name, edits, zipped=False, kept=1.0)


@FUZZ
@given(name=st.sampled_from(TABLES_FILES), edits=EDITS, zipped=st.booleans(), kept=st.sampled_from([1.0, 0.9, 0.3]))
def test_tables_edited_bytes(name: str, edits: list[tuple[float, int, bytes]], zipped: bool, kept: float) -> None:
    fuzz_bytes(read_tables, write_tables, name, edits, zipped, kept)


@FUZZ
@given(name=st.sampled_from(AMAZON_FILES), edits=EDITS, zipped=st.booleans(), kept=st.sampled_from([1.0, 0.9, 0.3]))
def test_amazon_edited_bytes(name: str, edits: list[tuple[float, int, bytes]], zipped: bool, kept: float) -> None:
    fuzz_bytes(read_amazon, write_amazon, name, edits, zipped, kept)


@FUZZ
@given(rec=rows_of(4), src=rows_of(5), items=rows_of(6), users=rows_of(1), which=st.integers(1, 15))
def test_kuaisar_odd_cells(
    rec: list[list[str]], src: list[list[str]], items: list[list[str]], users: list[list[str]], which: int
) -> None:
    english = CATEGORY_FIELDS[2::3]
    odd = {
        "rec_inter": table(["user_id", "item_id", "timestamp", "click"], rec),
        "src_inter": table(["user_id", "item_id", "search_session_timestamp", "keyword", "click_cnt"], src),
        "item_features": table(["item_id", "caption", *english], items),
        "user_features": table(["user_id"], users),
    }
    chosen = {name: content for bit, (name, content) in enumerate(odd.items()) if which >> bit & 1}
    with tempfile.TemporaryDirectory() as folder:
        accept_or_refuse(read_kuaisar, write_kuaisar(Path(folder), **chosen))


@FUZZ
@given(column=st.integers(0, 5), cell=CELLS, items=rows_of(2), odd_items=st.booleans())
def test_tables_odd_cells(column: int, cell: str, items: list[list[str]], odd_items: bool) -> None:
    row = ["u", "x", "src", "1700000000000", "red", "true"]
    later = [*row[:3], "1700086400000", *row[4:]]
    row[column] = cell
    header = ["user_id", "item_id", "behaviour", "time", "query", "positive"]
    chosen = {"events": table(header, [row, row, later])}
    if odd_items:
        chosen["items"] = table(["item_id", "text"], items)
    with tempfile.TemporaryDirectory() as folder:
        accept_or_refuse(read_tables, write_tables(Path(folder), **chosen))


@FUZZ
@given(
    name=st.sampled_from([*KUAISAR_FILES, *TABLES_FILES, *AMAZON_FILES, "events.parquet"]),
    content=st.binary(max_size=200),
)
def test_arbitrary_bytes(name: str, content: bytes) -> None:
    read, write = next(
        pair
        for names, pair in (
            (KUAISAR_FILES, (read_kuaisar, write_kuaisar)),
            ([*TABLES_FILES, "events.parquet"], (read_tables, write_tables)),
            (AMAZON_FILES, (read_amazon, write_amazon)),
        )
        if name in names
    )
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        if name == "events.parquet":
            (Path(folder) / "events.csv").unlink()
        (Path(folder) / name).write_bytes(content)
        accept_or_refuse(read, Path(folder))
