import gzip
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog, Repair
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError

from .kuaisar_files import write_tables

TIME = 1_700_000_000_000
DAY = 86_400_000
HEADER = "user_id,item_id,behaviour,time"


def read(folder: Path) -> EventLog:
    return read_source(DataConfig(source="tables"), folder)


def test_reads_a_folder(tmp_path: Path) -> None:
    log = read(write_tables(tmp_path))
    assert log.users["user_id"].to_list() == ["a", "b"]
    assert log.items.rows() == [("x", "Hat"), ("y", "Shoes, red"), ("z", "")]
    assert log.queries["text"].to_list() == ["red shoes"]
    assert log.events.rows() == [
        (1, 0, 0, TIME, -1, True),
        (0, 1, 1, TIME, 0, True),
        (0, 0, 0, TIME + 2 * DAY, -1, False),
    ]
    assert log.repairs == (Repair("items with no text kept", 1),)


def test_defaults_and_optional_users(tmp_path: Path) -> None:
    log = read(
        write_tables(
            tmp_path,
            events=f"{HEADER},query\nb,x,rec,{TIME},stray words\na,new,src,{TIME + DAY},\n",
            users="user_id\nquiet\na\na\n",
        )
    )
    assert log.users["user_id"].to_list() == ["a", "b", "quiet"]
    assert log.events["positive"].to_list() == [True, True]
    assert log.events["query"].to_list() == [-1, 0]
    assert log.queries["text"].to_list() == [""]
    assert set(log.repairs) == {
        Repair("queries of recommendation events dropped", 1),
        Repair("rows of events.csv, which has no column positive, read as positive", 2),
        Repair("searches with an empty query kept", 1),
        Repair("items of events without features kept with empty text", 1),
        Repair("items with no text kept", 1),
        Repair("duplicate user rows dropped", 1),
        Repair("users of events without features kept", 1),
    }


def test_ids_sort_as_numbers_only_if_all_are(tmp_path: Path) -> None:
    numeric = write_tables(
        tmp_path / "n",
        events=f"{HEADER}\n1,10,rec,{TIME}\n1,9,rec,{TIME + DAY}\n",
        items="item_id,text\n007,a\n7,b\n9,c\n",
    )
    assert read(numeric).items["item_id"].to_list() == ["007", "7", "9", "10"]
    mixed = write_tables(
        tmp_path / "m", events=f"{HEADER}\n1,10,rec,{TIME}\n1,9,rec,{TIME + DAY}\n", items="item_id,text\na,a\n10,b\n"
    )
    assert read(mixed).items["item_id"].to_list() == ["10", "9", "a"]


def test_parquet_and_gzip_give_the_same_log(tmp_path: Path) -> None:
    expected = read(write_tables(tmp_path / "csv"))
    folder = write_tables(tmp_path / "other")
    items = (folder / "items.csv").read_bytes()
    (folder / "items.csv").unlink()
    (folder / "items.csv.gz").write_bytes(gzip.compress(items))
    (folder / "events.csv").unlink()
    pl.DataFrame(
        {
            "user_id": ["b", "a", "a"],
            "item_id": ["x", "y", "x"],
            "behaviour": ["rec", "src", "rec"],
            "time": [datetime(2023, 11, day, 22, 13, 20) for day in (14, 14, 16)],
            "query": [None, "red shoes", None],
            "positive": [True, True, False],
        }
    ).write_parquet(folder / "events.parquet")
    log = read(folder)
    assert_frame_equal(log.events, expected.events)
    assert_frame_equal(log.items, expected.items)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1700000000000", TIME),
        ("631152000000", 631_152_000_000),
        ("2023-11-14T22:13:20", TIME),
        ("2023-11-14 22:13:20.250", TIME + 250),
        ("2023-11-14T22:13:20Z", TIME),
        ("2023-11-15T00:13:20.5+02:00", TIME + 500),
        ("2023-11-14", 1_699_920_000_000),
        ("2023-11-14T22:13", TIME - 20_000),
        ("2023-11-15 00:13:20+02", TIME),
        ("2023-11-14 17:43:20.25-0430", TIME + 250),
        ("2023-11-14 22:13:20 UTC", TIME),
        (" 1700000000000 ", TIME),
        ("1700000000000.00", TIME),
    ],
)
def test_times(tmp_path: Path, text: str, milliseconds: int) -> None:
    log = read(write_tables(tmp_path, events=f"{HEADER}\na,x,rec,{text}\na,x,rec,2020-01-01\n"))
    assert log.events["time"][0] == milliseconds


def test_parquet_timestamps_of_a_zone_are_instants(tmp_path: Path) -> None:
    folder = write_tables(tmp_path)
    (folder / "events.csv").unlink()
    zone = timezone(timedelta(hours=8))
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": ["x", "x"], "behaviour": ["rec", "rec"]})
    time = pl.Series(
        "time",
        [datetime(2023, 11, day, 6, 13, 20, tzinfo=zone) for day in (15, 16)],
        dtype=pl.Datetime("us", "Asia/Shanghai"),
    )
    frame.with_columns(time).write_parquet(folder / "events.parquet")
    assert read(folder).events["time"].to_list() == [TIME, TIME + DAY]


def test_parquet_as_pandas_and_polars_write_it(tmp_path: Path) -> None:
    """Times with an offset in place of a zone, which polars cannot name, and an enumeration."""
    folder = write_tables(tmp_path)
    (folder / "events.csv").unlink()
    time = pa.array([TIME, TIME + DAY], pa.timestamp("ms", "+05:30"))
    columns = {"user_id": [1, 1], "item_id": ["x", "x"], "time": time, "behaviour": ["rec", "rec"]}
    pq.write_table(pa.table(columns), folder / "events.parquet")
    events = read(folder).events
    assert events["time"].to_list() == [TIME, TIME + DAY]
    kinds = pl.Series("behaviour", ["rec", "src"], dtype=pl.Enum(["rec", "src"]))
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": ["x", "x"], "time": [TIME, TIME + DAY]}).with_columns(kinds)
    frame.write_parquet(folder / "events.parquet")
    assert read(folder).events["behaviour"].to_list() == [0, 1]


def test_parquet_decimals(tmp_path: Path) -> None:
    """Whole ones are numbers whatever the scale of their column; others are refused as floats are."""
    folder = write_tables(tmp_path, items="item_id,text\n0,a\n10,b\n")
    (folder / "events.csv").unlink()

    def write(*items: str) -> None:
        columns = {
            "user_id": pa.array([Decimal(1), Decimal(20)], pa.decimal128(38, 0)),
            "item_id": pa.array([Decimal(item) for item in items], pa.decimal128(38, 10)),
            "behaviour": ["rec", "rec"],
            "time": pa.array([Decimal(TIME), Decimal(TIME + DAY)], pa.decimal128(20, 3)),
        }
        pq.write_table(pa.table(columns), folder / "events.parquet")

    write("0", "10")
    log = read(folder)
    assert log.users["user_id"].to_list() == ["1", "20"]
    assert log.items["item_id"].to_list() == ["0", "10"]
    assert log.events["time"].to_list() == [TIME, TIME + DAY]
    write("10", "10.5")
    with pytest.raises(
        InputError, match=r"row 2: item_id is 10\.50*, a Decimal that is not whole, expected an id; write the column as"
    ):
        read(folder)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "raw[1]::x*"
    folder.mkdir()
    assert read(write_tables(folder)).events.height


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        ("events", f"{HEADER}\na,x,buy,5\n", "events.csv:2: behaviour is 'buy', expected rec or src; correct or"),
        ("events", f"{HEADER}\n ,x,rec,5\n", "events.csv:2: user_id is ' ', expected an id;"),
        ("events", f"{HEADER}\na,,rec,5\n", "events.csv:2: item_id is empty, expected an id;"),
        ("events", f"{HEADER}\na,x,rec,-5\n", "events.csv:2: time is '-5', expected milliseconds since 1970 or ISO"),
        ("events", f"{HEADER}\na,x,rec,2999-01-01\n", "events.csv:2: time is '2999-01-01', expected milliseconds"),
        ("events", f"{HEADER}\na,x,rec,14/11/2023\n", "events.csv:2: time is '14/11/2023', expected milliseconds"),
        (
            "events",
            f"{HEADER},positive\na,x,rec,{TIME},yes\n",
            "events.csv:2: positive is 'yes', expected true, false, 1",
        ),
        ("events", "user_id,item_id,time\na,x,5\n", "events.csv: missing column behaviour, found user_id, item_id,"),
        ("events", f"{HEADER}\n", "events.csv: the file has no rows"),
        ("items", "item_id,text\n", "items.csv: the file has no rows"),
        ("items", "item_id,title\nx,a\n", "items.csv: missing column text, found item_id, title;"),
        ("items", "item_id,text\n,a\n", "items.csv:2: item_id is empty, expected an id;"),
    ],
)
def test_one_line_error(tmp_path: Path, table: str, content: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(write_tables(tmp_path, **{table: content}))
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


def test_missing_and_repeated_tables(tmp_path: Path) -> None:
    folder = write_tables(tmp_path)
    (folder / "items.csv.gz").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"found items\.csv, items\.csv\.gz, expected one file for table items; remove"
    ):
        read(folder)
    (folder / "items.csv").unlink()
    (folder / "items.csv.gz").unlink()
    (folder / "Items.csv").write_text("")
    (folder / "events").mkdir()
    (folder / "events" / "part-00000.csv").write_text("")
    held = r"\(the folder holds Items\.csv, events, events\.csv\)"
    with pytest.raises(InputError, match=rf"table items is missing, expected one of items\.csv, .* {held}; see"):
        read(folder)


@pytest.mark.parametrize("table", ["events", "users"])
def test_what_has_the_name_of_a_table_and_is_no_file(tmp_path: Path, table: str) -> None:
    folder = write_tables(tmp_path)
    (folder / f"{table}.csv").unlink(missing_ok=True)
    path = folder / f"{table}.parquet"
    path.symlink_to("moved.parquet")
    with pytest.raises(InputError, match=rf"{table}\.parquet: it is a link to nothing: moved\.parquet; link to"):
        read(folder)
    path.unlink()
    path.mkdir()
    (path / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=rf"{table}\.parquet: it is a folder, expected a file; write its parts as one"):
        read(folder)


def test_gzip_cut_short(tmp_path: Path) -> None:
    folder = write_tables(tmp_path)
    content = gzip.compress((folder / "events.csv").read_bytes())
    (folder / "events.csv").unlink()
    (folder / "events.csv.gz").write_bytes(content[:-5])
    with pytest.raises(InputError, match=r"events\.csv\.gz: the gzip file is cut short or damaged"):
        read(folder)


@pytest.mark.parametrize(
    ("events", "items", "what"),
    [
        (["e\u0301,x", "\u00e9,x", "b,y"], ["x", "y"], "users"),
        (["e\u0323\u0301,x", "\u00e9\u0323,x", "b,y"], ["x", "y"], "users"),  # both apart, in another order
        (["a,\u00e9", "a,e\u0301", "b,x"], ["x", "\u00e9"], "items"),
        (["a,e\u0301", "a,x", "b,y"], ["x", "y", "\u00e9"], "items"),
    ],
)
def test_one_id_in_two_normalisations_is_refused(
    tmp_path: Path, events: list[str], items: list[str], what: str
) -> None:
    rows = "".join(f"{ids},rec,{TIME + number * DAY}\n" for number, ids in enumerate(events))
    texts = "".join(f"{item},text\n" for item in items)
    folder = write_tables(tmp_path, events=f"{HEADER}\n{rows}", items=f"item_id,text\n{texts}")
    with pytest.raises(InputError, match=rf"data\.raw: \d ids of {what} are there twice, .*; compose the ids"):
        read(folder)
    composed = write_tables(
        tmp_path / "c", events=f"{HEADER}\n{rows}".replace("e\u0301", "\u00ea"), items=f"item_id,text\n{texts}"
    )
    assert "e\u0323" in rows or read(composed).events.height == 3


def test_empty_marks_of_positive_events_are_counted(tmp_path: Path) -> None:
    rows = f"a,x,rec,{TIME},\nb,x,rec,{TIME + DAY},true\n\nb,y,rec,{TIME + DAY},false\n"
    log = read(write_tables(tmp_path, events=f"{HEADER},positive\n{rows}"))
    assert log.events["positive"].to_list() == [True, True, False]
    assert Repair("positive of events.csv that are empty read as true", 1) in log.repairs


def test_ids_that_differ_in_their_normalisation_alone_are_named(tmp_path: Path) -> None:
    folder = write_tables(tmp_path, events=f"{HEADER}\na,e\u0301,rec,{TIME}\na,e\u0301,rec,{TIME + DAY}\n")
    (folder / "items.csv").write_text("item_id,text\n\u00e9,Hat\n", encoding="utf-8")
    with pytest.raises(
        InputError, match="'e\u0301', the items '\u00e9'; 1 differ in their Unicode normalisation alone; write"
    ):
        read(folder)


@pytest.mark.parametrize("made", [os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_regular_file(tmp_path: Path, made: Callable[[Path], None]) -> None:
    folder = write_tables(tmp_path)
    (folder / "events.csv").unlink()
    made(folder / "events.csv")
    with pytest.raises(InputError, match=r"events.csv: it is no regular file \(a pipe or a device\), expected a file;"):
        read(folder)
