from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog, Repair
from gensr_dist.data.sources import kuaisar, read_source
from gensr_dist.errors import InputError

from .kuaisar_files import (
    DAY,
    ITEM_HEADER,
    REC_HEADER,
    SRC_HEADER,
    START,
    USER_HEADER,
    item_row,
    rec_row,
    src_row,
    write_kuaisar,
)


def read(folder: Path) -> EventLog:
    return read_source(DataConfig(source="kuaisar"), folder)


def csv(*lines: str) -> str:
    return "\n".join([*lines, ""])


def test_reads_a_folder(tmp_path: Path) -> None:
    log = read(write_kuaisar(tmp_path))
    assert log.users["user_id"].to_list() == ["1", "2", "10"]  # numeric order, the user without events too
    assert log.items.rows() == [("3", "Food"), ("4", ""), ("20", "Food Cake w5 w66")]
    assert log.queries["text"].to_list() == ["w1 w22", "w7"]
    assert log.events.rows() == [
        (2, 0, 0, START, -1, True),
        (1, 1, 0, START + 1, -1, False),
        (1, 2, 0, START + DAY, -1, True),
        (1, 0, 1, START, 1, True),
        (2, 2, 1, START, 0, False),
    ]
    assert log.repairs == (Repair("searches that showed no item dropped", 2), Repair("items with no text kept", 1))


def test_only_used_columns_are_required(tmp_path: Path) -> None:
    """The small release has fewer columns."""
    full = read(write_kuaisar(tmp_path / "full"))
    small = write_kuaisar(tmp_path / "small")
    for name, columns in {
        "rec_inter": kuaisar.REC_COLUMNS,
        "src_inter": kuaisar.SRC_COLUMNS,
        "item_features": kuaisar.ITEM_COLUMNS,
        "user_features": kuaisar.USER_COLUMNS,
    }.items():
        path = small / f"{name}.csv"
        pl.read_csv(path, infer_schema=False).select(c.name for c in reversed(columns)).write_csv(path)
    log = read(small)
    assert_frame_equal(log.events, full.events)
    assert_frame_equal(log.items, full.items)


def test_order_of_features_does_not_matter(tmp_path: Path) -> None:
    log = read(write_kuaisar(tmp_path / "a"))
    path = write_kuaisar(tmp_path / "b") / "item_features.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text(csv(header, *reversed(rows)))
    other = read(path.parent)
    assert_frame_equal(log.items, other.items)
    assert_frame_equal(log.events, other.events)


@pytest.mark.parametrize(
    ("categories", "text"),
    [
        (("Food", "Cake", "Food", "Cream"), "Food Cake Cream w5 w66"),
        (("empty", "Cake", "空", "UNKNOWN"), "Cake w5 w66"),
        (("", "", "", ""), "w5 w66"),
        (("A", "A", "A", "A"), "A w5 w66"),
        (("Comedy  show", " Talk", "B", "C"), "Comedy show Talk B C w5 w66"),
    ],
)
def test_item_text(tmp_path: Path, categories: tuple[str, ...], text: str) -> None:
    log = read(write_kuaisar(tmp_path, item_features=csv(ITEM_HEADER, item_row(3, categories=categories), item_row(4))))
    assert log.items["text"][0] == text


@pytest.mark.parametrize(("caption", "text"), [("[]", ""), ("", ""), ("[1]", "w1"), ("[1,22, 3]", "w1 w22 w3")])
def test_captions(tmp_path: Path, caption: str, text: str) -> None:
    log = read(write_kuaisar(tmp_path, item_features=csv(ITEM_HEADER, item_row(3, caption, ()), item_row(4))))
    assert log.items["text"][0] == text


def test_gaps_and_duplicates_are_fixed_and_counted(tmp_path: Path) -> None:
    log = read(
        write_kuaisar(
            tmp_path,
            rec_inter=csv(
                REC_HEADER, rec_row(2, 3), rec_row(2, 3), rec_row(2, 3, click=0), rec_row(5, 99, START + DAY)
            ),
            src_inter=csv(SRC_HEADER, src_row(2, 3, ""), src_row(2, 3, ""), src_row(2, -1), src_row(2, "3.0", "[4]")),
            item_features=csv(ITEM_HEADER, item_row(3), item_row(3, "[9]"), item_row(4, "[]", ())),
            user_features=csv(USER_HEADER, "2,1,1,1,1", "2,1,1,1,1", ""),
        )
    )
    assert log.items.rows() == [("3", "Food Cake w5 w66"), ("4", ""), ("99", "")]
    assert log.users["user_id"].to_list() == ["2", "5"]
    assert log.events.rows() == [
        (0, 0, 0, START, -1, True),
        (0, 0, 0, START, -1, False),
        (1, 2, 0, START + DAY, -1, True),
        (0, 0, 1, START, 0, True),
        (0, 0, 1, START, 1, True),
    ]
    assert log.queries["text"].to_list() == ["", "w4"]
    assert set(log.repairs) == {
        Repair("blank rows of user_features.csv dropped", 1),
        Repair("searches that showed no item dropped", 1),
        Repair("searches with an empty query kept", 2),
        Repair("duplicate item rows dropped", 1),
        Repair("items of events without features kept with empty text", 1),
        Repair("items with no text kept", 1),
        Repair("duplicate user rows dropped", 1),
        Repair("users of events without features kept", 1),
        Repair("duplicate events dropped", 2),
    }


def test_a_search_without_a_count_of_clicks_is_counted(tmp_path: Path) -> None:
    searches = csv(SRC_HEADER, src_row(2, 3), src_row(2, 4, clicks=""), src_row(5, 3))
    log = read(write_kuaisar(tmp_path, src_inter=searches))
    assert Repair("searches with an empty click_cnt read as not clicked", 1) in log.repairs


def test_ids_of_32_bits_that_ran_over_are_no_searches_without_an_item(tmp_path: Path) -> None:
    searches = csv(SRC_HEADER, src_row(2, 3), src_row(2, 103_656_000_000 - (49 << 31)), src_row(2, -1), src_row(2, 0))
    log = read(write_kuaisar(tmp_path, src_inter=searches))
    assert Repair("searches that showed no item dropped", 2, drops=True) in log.repairs
    assert Repair("searches with an item_id below -1 dropped", 1, drops=True) in log.repairs
    assert log.read == log.events.height + 3


TIME = "expected milliseconds since 1970, from 1990 to tomorrow; correct or remove rows like this one"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("rec_inter", csv(REC_HEADER, rec_row("u7", 3)), ":2: user_id is 'u7', expected an integer of 0 or more;"),
        ("rec_inter", csv(REC_HEADER, rec_row(1, 3), rec_row(1, "")), ":3: item_id is empty, expected an integer of"),
        ("rec_inter", csv(REC_HEADER, rec_row(1, 3, -5)), f":2: timestamp is '-5', {TIME}"),
        ("rec_inter", csv(REC_HEADER, rec_row(1, 3, 9e12)), f":2: timestamp is '9000000000000.0', {TIME}"),
        ("rec_inter", csv(REC_HEADER, rec_row(1, 3, "noon")), f":2: timestamp is 'noon', {TIME}"),
        ("rec_inter", csv(REC_HEADER, rec_row(1, 3, click=2)), ":2: click is '2', expected 0 or 1;"),
        ("rec_inter", csv(REC_HEADER), ": the file has no rows"),
        ("rec_inter", csv("user_id,item_id,click", "1,2,0"), ": missing column timestamp, found user_id, item_id,"),
        ("rec_inter", "", ": the file is empty"),
        ("src_inter", csv(SRC_HEADER, src_row(1, "x")), ":2: item_id is 'x', expected an integer;"),
        (
            "src_inter",
            csv(SRC_HEADER, src_row(1, "9007199254740993.0")),
            ":2: item_id is '9007199254740993.0', expected",
        ),
        ("src_inter", csv(SRC_HEADER, src_row(1, 3, "[1, a]")), ":2: keyword is '[1, a]', expected a list of word ids"),
        ("src_inter", csv(SRC_HEADER, src_row(1, 3, "[1, 2")), ":2: keyword is '[1, 2', expected a list of word ids"),
        ("src_inter", csv(SRC_HEADER, src_row(1, 3, time=-1)), f":2: search_session_timestamp is '-1', {TIME}"),
        ("src_inter", csv(SRC_HEADER, src_row(1, 3, clicks=-1)), ":2: click_cnt is '-1', expected an integer of 0"),
        ("src_inter", csv(SRC_HEADER, src_row(1, 0)), ": no search showed an item, expected item_id above 0"),
        ("item_features", csv(ITEM_HEADER, item_row("B00")), ":2: item_id is 'B00', expected an integer of 0 or more;"),
        ("item_features", csv(ITEM_HEADER, item_row(3, "5 6")), ":2: caption is '5 6', expected a list of word ids"),
        ("user_features", csv(USER_HEADER, "1.5,1,1,1,1"), ":2: user_id is '1.5', expected an integer of 0 or more;"),
    ],
)
def test_one_line_error(tmp_path: Path, file: str, content: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(write_kuaisar(tmp_path, **{file: content}))
    assert str(caught.value).startswith(f"{tmp_path / file}.csv{message}")
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    folder = write_kuaisar(tmp_path)
    (folder / "src_inter.csv").unlink()
    (folder / "src_inter.parquet").touch()
    with pytest.raises(InputError) as caught:
        read(folder)
    problem = "the folder lacks src_inter.csv, expected rec_inter.csv, src_inter.csv, item_features.csv, "
    held = "user_features.csv (it holds item_features.csv, rec_inter.csv, src_inter.parquet, user_fe...)"
    remedy = "give the folder of a KuaiSAR release as data.raw, its files as CSV"
    assert str(caught.value) == f"{folder}: {problem}{held}; {remedy}"


def test_read_source_dispatches(tmp_path: Path) -> None:
    folder = write_kuaisar(tmp_path / "raw")
    for source in ("kuaisar", "simulate"):
        assert read_source(DataConfig(source=source), folder).events.height == 5
    with pytest.raises(InputError, match=r"^data\.raw: expected a folder, and '.*none' is none; give the folder of"):
        read_source(DataConfig(source="kuaisar"), tmp_path / "none")
    with pytest.raises(InputError, match=r"^data\.raw: .*; run `gensr simulate` first$"):
        read_source(DataConfig(source="simulate"), tmp_path / "none")
