from dataclasses import replace
from pathlib import Path

from gensr_dist.data.checking.log_check import check_log
from gensr_dist.data.checking.page import WIDTH, page
from gensr_dist.data.checking.report import LogReport, Suspicion
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Repair
from tests.data.sources.kuaisar_files import write_kuaisar, write_tables


def report_of(folder: Path, **changed: object) -> LogReport:
    settings = {"source": "tables", "min_interactions": 1, "both_behaviours": False, "eval_negatives": 1}
    return check_log(DataConfig(**(settings | changed)), str(folder), full=False)  # type: ignore[arg-type]


def unwrapped(report: LogReport) -> str:
    return "\n".join(page(report)).replace("\n            ", " ")


def test_says_what_was_understood(tmp_path: Path) -> None:
    text = unwrapped(report_of(write_tables(tmp_path)))
    assert "events.csv: " in text
    assert ", 3 rows understood" in text
    assert "user_id -> user; item_id -> item; behaviour; time -> time, milliseconds or ISO 8601; query" in text
    assert "2023-11-14 22:13:20  user b  item x  positive recommendation" in text
    assert "2023-11-14 22:13:20  user a  item y  positive search 'red shoes'" in text
    assert "item y: 'Shoes, red'" in text
    assert "times     2023-11-14 22:13:20 to 2023-11-16 22:13:20 UTC: 2.0 days, 2 dates with events" in text
    assert "2 of 2 items of events (100.0 %) are among the 3 items listed" in text
    assert "3 items, 33.3 % without text" in text
    assert "1 items with no text kept" in text
    assert "1 of 3 (33.3 %) items have no text; fill the texts" in text


def test_columns_that_are_missing_and_left_over(tmp_path: Path) -> None:
    events = "user_id,item_id,behaviour,when,stars\na,x,rec,1700000000000,5\n"
    report = report_of(write_tables(tmp_path, events=events))
    text = unwrapped(report)
    assert "not there: time (required), query, positive; not read: when, stars" in text
    assert "as written: a | x | rec" in text
    assert "missing column time" in str(report.refusal)
    assert "read up to what is wrong" in " ".join(text.split())
    assert "nothing" not in text


def test_a_full_page_is_a_page(tmp_path: Path) -> None:
    report = report_of(write_kuaisar(tmp_path), source="kuaisar")
    repairs = tuple(Repair(f"rows of the kind {n} dropped for this reason and that one", n) for n in range(1, 30))
    long = Suspicion(what="word " * 20, remedy="do " * 15)
    lines = page(replace(report, repairs=repairs, suspicions=(long,) * 20))
    assert "and 22 kinds more, see --json" in "\n".join(lines)
    assert "and 15 more, see --json" in "\n".join(lines)
    assert len(lines) <= 50
    assert max(len(line) for line in lines) <= WIDTH == 110


def test_lost_events_come_first_among_changes(tmp_path: Path) -> None:
    repairs = (*(Repair(f"texts of the kind {n}", 1) for n in range(20)), Repair("reviews dropped", 3, drops=True))
    lines = page(replace(report_of(write_tables(tmp_path)), repairs=repairs))
    assert "changes   3 reviews dropped" in lines


def test_fixed_tables_say_how(tmp_path: Path) -> None:
    rows = ("a,x.0,rec,1700000000000,", "a,7.0,rec,1700100000001,", "b,7,src,1700200000000,")
    events = "\n".join(["user_id,item_id,behaviour,time,query", *rows])
    items = 'item_id,text\n7,"Hat\nred"\nx.0,Shoes \x01 blue\nz,NULL\n'
    text = unwrapped(report_of(write_tables(tmp_path, events=events, items=items)))
    assert "1 last line of events.csv kept, which has no line end (it may be cut)" in text
    assert "1 line breaks within quoted fields of items.csv read as blanks" in text
    assert "1 item_id of events.csv written with .0 read as whole numbers" in text
    assert "1 texts of items with control characters, which became blanks" in text
    assert "1 texts of items that are NULL, nan or the like kept" in text
    assert "1 of 3 (33.3 %) items have a word for no value as text, as NULL or nan; leave these texts empty" in text


def test_swallowed_rows_and_names_in_another_case(tmp_path: Path) -> None:
    header = "user_id,item_id,behaviour,time,query"
    rows = [f"a,x,src,{1700000000000 + n * 86_400_007},{query}" for n, query in enumerate(("hat", '"red tv', '20"'))]
    report = report_of(write_tables(tmp_path, events="\n".join([header, *rows, ""])))
    assert report.files[0].rows == 1
    assert "events.csv:3: a quote opens here and closes 1 rows later" in str(report.refusal)
    report = report_of(write_tables(tmp_path, events="\n".join([header.replace("time", "Time"), *rows[:1], ""])))
    assert "not there: time (required), positive; not read: Time" in unwrapped(report)
    assert "the name 'Time' of a column is written otherwise than 'time'" in str(report.refusal)


def test_terminal_controls_do_not_get_through(tmp_path: Path) -> None:
    items = "item_id,text\nx,Hat \x1b[31mred\ny,Shoes\nz,Bag\n"
    assert not any("\x1b" in line for line in page(report_of(write_tables(tmp_path, items=items))))
