"""What is said of whole logs: the counts of known ones, and the same error as `prepare` gives of those it refuses."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gensr_dist.data.checking import log_check
from gensr_dist.data.checking.log_check import check_log
from gensr_dist.data.checking.report import FirstEvent, FirstItem, LogReport
from gensr_dist.data.config import DataConfig
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder
from tests.data.sources.kuaisar_files import DAY, START, rec_row, src_row, write_kuaisar

HEADER = "user_id,item_id,behaviour,time,query,positive"
USERS, ITEMS, EVENTS = 20, 30, 600


def event_rows(events: int = EVENTS) -> list[list[str]]:
    """Every user searches and is recommended to, on 30 days."""
    return [
        [
            f"u{n % USERS}",
            f"i{n * 7 % ITEMS}",
            "src" if n // USERS % 2 else "rec",
            str(START + n * DAY // 20 + n),
            f"red {n % 9}" if n // USERS % 2 else "",
            "true",
        ]
        for n in range(events)
    ]


def csv(header: str, rows: list[list[str]]) -> str:
    return "\n".join([header, *(",".join(row) for row in rows), ""])


def write(folder: Path, events: list[list[str]], items: list[list[str]] | None = None, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.csv").write_text(csv(header, events))
    (folder / "items.csv").write_text(csv("item_id,text", items or [[f"i{n}", f"Shoes {n}"] for n in range(ITEMS)]))
    return folder


def config_of(**changed: Any) -> DataConfig:
    settings = {"source": "tables", "min_interactions": 2, "eval_negatives": 3, "vocabulary": 300, "split": "time"}
    return DataConfig(**(settings | changed))


def check(folder: Path, *, full: bool = False, **changed: Any) -> LogReport:
    return check_log(config_of(**changed), str(folder), full=full)


def error_of_prepare(folder: Path, out: Path, **changed: Any) -> str:
    config = config_of(**changed)
    with pytest.raises(InputError) as caught:
        prepare(LocalEngine(read_source(config, folder)), config, 0, Folder.at(out))
    return str(caught.value)


def test_a_good_log(tmp_path: Path) -> None:
    report = check(write(tmp_path, [*event_rows(), event_rows()[0]]))
    events, items = report.files
    assert (events.file, events.rows, items.file, items.rows) == ("events.csv", EVENTS + 1, "items.csv", ITEMS)
    assert [(use.name, use.role) for use in events.used][:2] == [("user_id", "user"), ("item_id", "item")]
    assert report.first_events[0] == FirstEvent(
        user="u0", item="i0", behaviour="recommendation", time="2023-05-22 00:00:00", query=None, positive=True
    )
    assert report.first_events[2].query == "red 2"
    assert report.first_items[0] == FirstItem(item="i0", text="Shoes 0")
    assert [counts.events for counts in report.behaviours] == [301, 300]
    assert report.activity is not None
    assert (report.activity.users, report.activity.both_users, report.activity.repeats) == (USERS, USERS, 1)
    assert [(m.what, m.matched, m.met) for m in report.matches] == [("items", ITEMS, ITEMS)]
    assert report.refusal is None
    assert not report.sampled
    assert not report.partial
    assert {repair.what: repair.count for repair in report.repairs} == {"duplicate events dropped": 1}
    assert report.outcome is not None
    assert (report.outcome.events, report.outcome.events_before) == (EVENTS, EVENTS)
    assert sum(counts.train + counts.valid + counts.test for counts in report.outcome.positives) == EVENTS


def test_the_outcome_is_what_prepare_keeps(tmp_path: Path) -> None:
    rows = event_rows()
    folder = write(tmp_path / "raw", [*rows, ["rare", "i0", "rec", str(START + DAY), "", "true"]])
    report = check(folder, split="days")
    config = config_of(split="days")
    result = prepare(LocalEngine(read_source(config, folder)), config, 0, Folder.at(tmp_path / "shards"))
    assert report.outcome is not None
    kept = report.outcome
    assert (kept.users, kept.items, kept.events) == (result.users, result.items, result.events)
    assert report.repairs[: len(result.repairs)] == result.repairs[: len(report.repairs)]
    counts = [(task.train, task.valid, task.test) for task in kept.positives]
    found = [(task.train, task.valid, task.test) for task in (result.recommendation, result.search)]
    assert counts == found


def with_time(n: int, change: Callable[[str], str]) -> list[list[str]]:
    rows = event_rows()
    rows[n][3] = change(rows[n][3])
    return rows


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_comes_before_a_fault_is_understood(tmp_path: Path, suffix: str) -> None:
    folder = write(tmp_path / "raw", with_time(417, lambda text: text[:10]))
    content = (folder / "events.csv").read_bytes()
    (folder / "events.csv").unlink()
    (folder / f"events.csv{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    report = check(folder)
    assert report.files[0].rows == 417
    assert sum(counts.events for counts in report.behaviours) == 417
    assert report.files[1].rows == ITEMS
    assert report.partial
    assert not report.suspicions
    assert str(report.refusal) == error_of_prepare(folder, tmp_path / "shards")
    assert f"events.csv{suffix}:419" in str(report.refusal)


def test_a_first_row_that_is_wrong_is_shown_as_written(tmp_path: Path) -> None:
    report = check(write(tmp_path, [["nan", *event_rows()[0][1:]], *event_rows()]))
    assert report.files[0].rows == 0
    assert report.files[0].as_written[0] == ("nan", "i0", "rec", str(START), "", "true")
    assert report.files[1].as_written == ()
    assert "user_id is 'nan'" in str(report.refusal)


@pytest.mark.parametrize(
    ("events", "items", "changed"),
    [
        (event_rows(), [[f"x{n}", "Hat"] for n in range(ITEMS)], {}),
        ([row for row in event_rows(40) if row[2] == "rec"], None, {}),
        (event_rows(40), None, {"split": "days", "min_interactions": 1}),
        ([[*row[:3], str(START + n), *row[4:]] for n, row in enumerate(event_rows())], None, {}),
        (event_rows(), None, {"eval_negatives": ITEMS}),
        (event_rows(), None, {"train_negatives": ITEMS}),
        (event_rows(), None, {"tokenizer": "no/such/folder"}),
        ([[*row[:5], "false"] for row in event_rows()], None, {}),
        ([row[:5] for row in event_rows()], None, {}),
        ([], None, {}),
    ],
)
def test_refuses_what_prepare_refuses(
    tmp_path: Path, events: list[list[str]], items: list[list[str]] | None, changed: dict[str, Any]
) -> None:
    folder = write(tmp_path / "raw", events, items)
    report = check(folder, **changed)
    assert str(report.refusal) == error_of_prepare(folder, tmp_path / "shards", **changed)
    assert report.first_items


def test_a_folder_of_shards_that_prepare_refuses(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw", event_rows())
    report = check_log(config_of(), str(folder), full=False, shards=Folder.at(folder))
    with pytest.raises(InputError) as caught:
        prepare(LocalEngine(read_source(config_of(), folder)), config_of(), 0, Folder.at(folder))
    assert str(report.refusal) == str(caught.value)
    assert report.outcome is not None
    absent = check_log(config_of(), str(folder), full=False, shards=Folder.at(tmp_path / "shards"))
    assert absent.refusal is None


def test_says_what_matches_before_ids_are_refused(tmp_path: Path) -> None:
    report = check(write(tmp_path, event_rows(), [[f"I{n}", "Hat"] for n in range(ITEMS)]))
    match = report.matches[0]
    assert (match.matched, match.alike, match.event_example, match.listed_example) == (0, ITEMS, "i0", "I0")
    assert "30 of the 30 items of events are not among the 30 items listed" in str(report.refusal)
    assert any("30 would match but for case" in suspicion.what for suspicion in report.suspicions)


@pytest.mark.parametrize("kind", ["csv", "parquet", "csv.gz"])
def test_a_sample_of_large_files(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_check, "SAMPLE_BYTES", 8_000)
    monkeypatch.setattr(log_check, "_PIECE_BYTES", 1_000)
    folder = write(tmp_path, event_rows())
    text = (folder / "events.csv").read_bytes()
    (folder / "events.csv").unlink()
    if kind == "parquet":
        pl.read_csv(text).write_parquet(folder / "events.parquet", row_group_size=20, compression="uncompressed")
    else:
        (folder / f"events.{kind}").write_bytes(gzip.compress(text, 0) if kind.endswith("gz") else text)
    sample, whole = check(folder), check(folder, full=True)
    events, items = sample.files
    assert events.rows is not None
    assert 50 < events.rows < EVENTS
    assert (events.sampled, items.sampled, items.rows) == (True, False, ITEMS)
    assert sample.sampled
    assert sample.outcome is None
    assert sample.matches[0].what == "items"
    assert sample.times is not None
    assert whole.times is not None
    assert whole.outcome is not None
    assert whole.files[0].rows == EVENTS
    reaches_the_end = kind != "csv.gz"
    assert (sample.times.last_ms == whole.times.last_ms) == reaches_the_end


def test_a_sampled_table_of_items_is_not_matched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_check, "SAMPLE_BYTES", 3_000)
    monkeypatch.setattr(log_check, "_PIECE_BYTES", 1_000)
    items = [[f"i{n}", "Shoes"] for n in range(2_000)]
    report = check(write(tmp_path, event_rows(), items))
    assert report.matches == ()
    assert report.refusal is None


def test_a_sample_refuses_ids_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_check, "SAMPLE_BYTES", 8_000)
    monkeypatch.setattr(log_check, "_PIECE_BYTES", 1_000)
    report = check(write(tmp_path, event_rows(), [[f"0{n}", "Hat"] for n in range(ITEMS)]))
    assert report.sampled
    assert "items of events are not among the 30 items listed" in str(report.refusal)


def test_kuaisar_goes_on_to_the_files_after_a_fault(tmp_path: Path) -> None:
    wrong = "\n".join(
        [(write_kuaisar(tmp_path) / "rec_inter.csv").read_text().splitlines()[0], rec_row(2, 3, START / 1000), ""]
    )
    folder = write_kuaisar(tmp_path, rec_inter=wrong)
    report = check(folder, source="kuaisar")
    assert [(file.file, file.rows) for file in report.files] == [
        ("rec_inter.csv", 0),
        ("src_inter.csv", 4),
        ("item_features.csv", 3),
        ("user_features.csv", 3),
    ]
    roles = {use.name: use.role for use in report.files[1].used}
    assert roles["keyword"] == "query"
    assert "search_source" in report.files[1].unused
    assert "rec_inter.csv:2: timestamp is '1684713600.0'" in str(report.refusal)


def test_searches_without_items_are_counted(tmp_path: Path) -> None:
    header = (write_kuaisar(tmp_path) / "src_inter.csv").read_text().splitlines()[0]
    rows = [src_row(2, 3, "[7]"), src_row(10, 20, "[]"), src_row(10, 0), ""]
    report = check(write_kuaisar(tmp_path, src_inter="\n".join([header, *rows])), source="kuaisar")
    assert report.queries is not None
    assert (report.queries.searches, report.queries.empty, report.queries.distinct) == (2, 1, 1)
    assert ("searches that showed no item dropped", 1) in [(repair.what, repair.count) for repair in report.repairs]


def write_amazon(folder: Path, reviews: list[dict[str, Any]], meta: list[dict[str, Any]]) -> Path:
    for name, rows in (("reviews_Toys_5", reviews), ("meta_Toys", meta)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.json.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def review(n: int, **changed: Any) -> dict[str, Any]:
    when = START // 1000 + n * 8_640
    return {
        "reviewerID": f"U{n % 10}",
        "asin": f"B{(n + n // 10 % 5) % 10}",
        "unixReviewTime": when,
        "overall": 5.0,
    } | changed


def meta_line(n: int) -> dict[str, Any]:
    return {"asin": f"B{n}", "title": f"Robot {n}", "categories": [["Toys", "Robots"]]}


def test_amazon(tmp_path: Path) -> None:
    folder = write_amazon(tmp_path, [review(n) for n in range(90)], [meta_line(n) for n in range(8)])
    report = check(folder, source="amazon", both_behaviours=False)
    assert [(use.name, use.role) for use in report.files[0].used] == [
        ("reviewerID", "user"),
        ("asin", "item"),
        ("unixReviewTime", "time in seconds since 1970"),
    ]
    assert report.files[0].unused == ("overall",)
    assert [counts.events for counts in report.behaviours] == [90, 72]
    match = report.matches[0]
    assert (match.matched, match.met, match.event_example) == (8, 10, "B8")
    assert report.texts is not None
    assert (report.texts.items, report.texts.empty) == (8, 0)
    assert report.refusal is None


def test_amazon_up_to_a_fault(tmp_path: Path) -> None:
    reviews = [review(n) for n in range(90)]
    reviews[70] = review(70, unixReviewTime=START)
    folder = write_amazon(tmp_path, reviews, [meta_line(n) for n in range(10)])
    report = check(folder, source="amazon")
    assert [counts.events for counts in report.behaviours] == [70, 0]
    assert report.partial
    assert str(report.refusal) == error_of_prepare(folder, tmp_path / "shards", source="amazon")


def test_amazon_ids_that_no_meta_line_has(tmp_path: Path) -> None:
    lines = [meta_line(n) | {"asin": f"C{n}"} for n in range(10)]
    folder = write_amazon(tmp_path, [review(n) for n in range(90)], lines)
    report = check(folder, source="amazon")
    assert [counts.events for counts in report.behaviours] == [90, 0]
    assert report.files[1].as_written[0][:2] == ("C0", "Robot 0")
    assert "10 of the 10 items of events are not among" in str(report.refusal)


def test_a_folder_without_the_files_says_nothing_but_the_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table events is missing"):
        check(tmp_path)
