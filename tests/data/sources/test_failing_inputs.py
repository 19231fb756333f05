"""Inputs as other programs write them: refused in one line that says where and why, or fixed and counted."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError

from .kuaisar_files import DAY, REC_HEADER, START, rec_row, write_kuaisar

HEADER = "user_id,item_id,behaviour,time,query,positive"
ROWS = [[f"u{n % 5}", f"i{n % 4}", "src", str(START + n * DAY + 7), f"red {n}", "true"] for n in range(20)]
ITEMS = [[f"i{n}", f"Shoes {n}"] for n in range(4)]


def csv(header: str, rows: list[list[str]]) -> str:
    return "\n".join([header, *(",".join(row) for row in rows), ""])


def changed(column: int, change: Callable[[str, int], str]) -> list[list[str]]:
    """ROWS with another text in a column, of the old text and the row's number."""
    return [[*row[:column], change(row[column], n), *row[column + 1 :]] for n, row in enumerate(ROWS)]


def read(
    folder: Path, events: list[list[str]] = ROWS, items: list[list[str]] = ITEMS, header: str = HEADER
) -> EventLog:
    (folder / "events.csv").write_text(csv(header, events))
    (folder / "items.csv").write_text(csv("item_id,text", items))
    return read_tables(folder)


def read_tables(folder: Path) -> EventLog:
    return read_source(DataConfig(source="tables"), folder)


def repairs(log: EventLog) -> dict[str, int]:
    return {repair.what: repair.count for repair in log.repairs}


@pytest.mark.parametrize(
    ("rows", "query", "message"),
    [
        (
            (3, 8),
            r'"20\" tv"',
            r"events.csv:5: expected a CSV record, .*check its quotes: text before an opening or after",
        ),
        ((3, 8), r'"20\""', r"events.csv:5: expected a CSV record, .*write a quote within a field twice"),
        ((3,), '20" tv', "events.csv:5: a quote is opened and not closed"),
        ((19,), '"red', "events.csv:21: a quote is opened and not closed"),
    ],
)
def test_quotes_that_are_not_doubled(tmp_path: Path, rows: tuple[int, ...], query: str, message: str) -> None:
    events = changed(4, lambda text, n: query if n in rows else f'"{text}"' if n % 2 else text)
    with pytest.raises(InputError, match=message):
        read(tmp_path, events)


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    events = [*changed(4, lambda text, n: f'"{text} ""tv"""'), ROWS[0], ROWS[0]]
    log = read(tmp_path, events)
    assert log.read == 22
    assert log.events.height == 22 - repairs(log)["duplicate events dropped"] == 21


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text, n: text[:10],
            r":2: time is '1684713600' \(as milliseconds 1970-01-20 .*, as seconds 2023",
        ),
        (lambda text, n: text[:10] if n % 2 else text, ":3: time is '1684800000' .* in milliseconds, with all digits"),
        (
            lambda text, n: f"202405{n + 10}",
            r":2: time is '20240510' \(as milliseconds .*, as a date 2024-05-10\)",
        ),
        (lambda text, n: f"{float(text):.5e}", r":2: time is '1.68471e\+12' \(scientific notation has lost digits\)"),
        (lambda text, n: text + "000", ":2: time is '1684713600007000' .*as microseconds 2023-05-22"),
        (lambda text, n: text if n < 19 else text[:8], ":21: time is '16863552', expected milliseconds"),
        (lambda text, n: text if n < 19 else "2024-05-01T10:3", ":21: time is '2024-05-01T10:3', expected"),
        (
            lambda text, n: str(START + n),
            "data.raw: all events lie within a day, as milliseconds 2023-.*, as seconds",
        ),
        (lambda text, n: str((START >> 17) + n * 1000 << 17), "events.csv: all times are multiples of 131072"),
    ],
)
def test_times_in_other_units(tmp_path: Path, change: Callable[[str, int], str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, changed(3, change))


def test_two_files_in_two_units(tmp_path: Path) -> None:
    rows = "\n".join([REC_HEADER, rec_row(2, 3, START / 1000), ""])
    with pytest.raises(InputError, match=r"rec_inter.csv:2: timestamp is '1684713600.0' .*as seconds 2023-05-22"):
        read_source(DataConfig(source="kuaisar"), write_kuaisar(tmp_path, rec_inter=rows))


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "NULL", "\\N", "1.2e+10", "1E+05", "9007199254740994.0"])
@pytest.mark.parametrize("column", [0, 1])
def test_words_that_are_no_ids(tmp_path: Path, word: str, column: int) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, changed(column, lambda text, n: word if n == 4 else text))
    assert f"events.csv:6: {HEADER.split(',')[column]} is {word!r}" in str(caught.value)


def test_whole_numbers_written_as_floats_are_counted(tmp_path: Path) -> None:
    events = changed(1, lambda text, n: text[1:] + ".0" * (n % 2))
    log = read(tmp_path, events, [[item[1:], text] for item, text in ITEMS])
    assert log.items["item_id"].to_list() == ["0", "1", "2", "3"]
    assert repairs(log) == {"item_id of events.csv written with .0 read as whole numbers": 10}


@pytest.mark.parametrize("other", [lambda item: item.upper(), lambda item: f"0{item}", lambda item: item + "x"])
def test_ids_that_are_not_those_of_the_items(tmp_path: Path, other: Callable[[str], str]) -> None:
    with pytest.raises(InputError, match=r"4 of the 4 items of events are not among the 4 items listed: .* 'i0'"):
        read(tmp_path, ROWS, [[other(item), text] for item, text in ITEMS])


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([1.0, float("nan"), 2.0], pl.Float64, r"row 2: user_id is 'NaN'"),
        ([1.0, 2.0, 16777218.0], pl.Float32, r"row 3: user_id is 16777218.0, a Float32 that is not exact"),
        ([1.0, 2.5, 3.0], pl.Float64, r"row 2: user_id is 2.5, a Float64 that is not exact"),
    ],
)
def test_float_ids_in_parquet(tmp_path: Path, values: list[float], dtype: Any, message: str) -> None:
    read(tmp_path)
    (tmp_path / "events.csv").unlink()
    pl.DataFrame(
        {
            "user_id": pl.Series(values, dtype=dtype),
            "item_id": ["i0", "i1", "i2"],
            "behaviour": ["rec"] * 3,
            "time": [START + 7, START + DAY, START + 2 * DAY],
        }
    ).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(InputError, match=message):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.encode("utf-16"),
            "events.csv: the file is UTF-16 or holds zero bytes, .*; save the file",
        ),
        (lambda text: text.encode("utf-16-le"), "events.csv: the file is UTF-16"),
        (lambda text: text.replace("\n", "\r").encode(), "events.csv: lines end with CR alone"),
        (
            lambda text: text.replace("item_id", " item_id").encode(),
            "events.csv: the name ' item_id' of a column has",
        ),
        (lambda text: text.replace("positive", "time").encode(), "events.csv: column time is there 2 times"),
        (
            lambda text: text[: text.rindex(",red")].encode(),
            "events.csv:21: 4 fields, expected 6 as in the header, found 'u4,i3,src,",
        ),
    ],
)
def test_files_of_other_programs(tmp_path: Path, change: Callable[[str], bytes], message: str) -> None:
    read(tmp_path)
    (tmp_path / "events.csv").write_bytes(change(csv(HEADER, ROWS)))
    with pytest.raises(InputError, match=message):
        read_tables(tmp_path)


def test_entities_and_long_words_are_fixed_and_counted(tmp_path: Path) -> None:
    items = [["i0", "Caf&eacute; &#9733; AT&T"], ["i1", "a " + "x" * 300_000 + " b"], *ITEMS[2:]]
    log = read(tmp_path, changed(4, lambda text, n: "salt &amp; pepper" if n else text), items)
    assert log.items["text"].to_list() == ["Café ★ AT&T", f"a {'x' * 500} b", "Shoes 2", "Shoes 3"]
    assert log.queries["text"].to_list() == ["red 0", "salt & pepper"]
    assert repairs(log) == {
        "queries with HTML entities decoded": 19,
        "texts of items with HTML entities decoded": 1,
        "words of texts of items over 500 characters cut": 1,
    }


def test_one_of_two_files_rounded_by_floats(tmp_path: Path) -> None:
    times = [(START >> 17) + n * 700 << 17 for n in range(3)]
    rows = "\n".join([REC_HEADER, *(rec_row(2, 3, time) for time in times), ""])
    with pytest.raises(InputError, match=r"rec_inter.csv: all times are multiples of 131072 ms"):
        read_source(DataConfig(source="kuaisar"), write_kuaisar(tmp_path, rec_inter=rows))


@pytest.mark.parametrize("name", ["Positive", "POSITIVE", " Positive"])
def test_optional_columns_in_another_case_are_not_passed_over(tmp_path: Path, name: str) -> None:
    header = HEADER.replace("positive", name)
    with pytest.raises(
        InputError, match=f"events.csv: the name '{name}' of a column is written otherwise than 'positive'"
    ):
        read(tmp_path, header=header)
    both = [[*row, "x"] for row in ROWS]
    assert read(tmp_path, both, header=f"{HEADER},{name.strip()}").events.height == len(ROWS)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def test_amazon_2018(tmp_path: Path) -> None:
    reviews = [{"reviewerID": f"U{n}", "asin": "B1", "unixReviewTime": START // 1000 + n * 86_400} for n in range(3)]
    write_lines(tmp_path / "All_Beauty_5.json.gz", reviews)
    meta = [{"asin": "B1", "title": "Caf&eacute;", "brand": "X", "category": ["Beauty", "Women&#39;s &amp; Men"]}]
    write_lines(tmp_path / "meta_All_Beauty.json.gz", meta)
    log = read_source(DataConfig(source="amazon"), tmp_path)
    assert log.items["text"].to_list() == ["beauty womens men café x"]
    assert log.queries["text"].to_list() == ["beauty womens men"]
    assert log.read == log.events.height == 6


def test_amazon_2023(tmp_path: Path) -> None:
    reviews = [
        {"user_id": f"U{n}", "asin": "B0", "parent_asin": "B1", "timestamp": START + n * DAY, "rating": 5.0}
        for n in range(3)
    ]
    write_lines(tmp_path / "All_Beauty.jsonl.gz", reviews)
    meta = [{"parent_asin": "B1", "title": "Soap", "store": "X", "categories": ["Beauty", "Bath"]}]
    write_lines(tmp_path / "meta_All_Beauty.jsonl.gz", meta)
    log = read_source(DataConfig(source="amazon"), tmp_path)
    assert log.items.rows() == [("B1", "beauty bath soap x")]
    assert log.queries["text"].to_list() == ["beauty bath"]
    assert sorted(log.events["time"].unique()) == [START, START + DAY, START + 2 * DAY]
    write_lines(tmp_path / "All_Beauty.jsonl.gz", [{**row, "timestamp": START // 1000} for row in reviews])
    with pytest.raises(InputError, match=r"timestamp is 1684713600 \(as milliseconds 1970-.*, as seconds 2023-05-22"):
        read_source(DataConfig(source="amazon"), tmp_path)


def test_amazon_of_no_known_release(tmp_path: Path) -> None:
    write_lines(tmp_path / "All_Beauty.json.gz", [])
    with pytest.raises(InputError, match=r"found none \(the folder holds All_Beauty.json.gz\)"):
        read_source(DataConfig(source="amazon"), tmp_path)
