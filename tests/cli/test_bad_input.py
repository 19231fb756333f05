"""Bad logs through the command line: one line and exit code 2, or a counted repair; never half of a shard folder."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gensr_dist.cli.main import main

DAY = 86_400_000
START = 1_700_000_000_000
HEADER = "user_id,item_id,behaviour,time,query"
CONFIG = """
data:
  raw: raw
  split: time
  valid_share: 0.15
  test_share: 0.15
  min_interactions: 1
  both_behaviours: false
  eval_negatives: 5
  vocabulary: 300
  title_tokens: 4
"""
EVENTS = [
    f"u{user},i{(user * 3 + day) % 20},{'src' if day % 3 == 0 else 'rec'},{START + day * DAY + user},"
    + ("red shoe" if day % 3 == 0 else "")
    for user in range(8)
    for day in range(8)
]
ITEMS = [f"i{item},thing red {item}" for item in range(20)]
REC = "user_id,item_id,timestamp,click"
SRC = "user_id,item_id,search_session_timestamp,keyword,click_cnt"
CATEGORIES = ",".join(f"{level}_level_category_name_en" for level in ("first", "second", "third", "fourth"))


def lines(*rows: str) -> bytes:
    return "\n".join([*rows, ""]).encode()


def tables(folder: Path, events: bytes = lines(HEADER, *EVENTS)) -> Path:
    folder.mkdir()
    (folder / "events.csv").write_bytes(events)
    (folder / "items.csv").write_bytes(lines("item_id,text", *ITEMS))
    return folder


def prepared(
    source: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `gensr prepare`."""
    monkeypatch.chdir(folder)
    (folder / "c.yaml").write_text(CONFIG)
    code = main(["prepare", source, "c.yaml", "--json"])
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def gzipped_and_cut(raw: Path) -> None:
    content = gzip.compress((raw / "events.csv").read_bytes())
    (raw / "events.csv").unlink()
    (raw / "events.csv.gz").write_bytes(content[:-9])


def appended(line: str, name: str = "events.csv") -> Callable[[Path], object]:
    def spoil(raw: Path) -> None:
        with (raw / name).open("a") as file:
            file.write(f"{line}\n")

    return spoil


def replaced(content: bytes, name: str = "events.csv") -> Callable[[Path], object]:
    return lambda raw: (raw / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda raw: (raw / "items.csv").unlink(), "raw: table items is missing"),
        (replaced(lines("user_id,item_id,time", "u1,i1,5")), "raw/events.csv: missing column behaviour"),
        (appended("u1,i2,rec,noon,"), "raw/events.csv:66: time is 'noon', expected milliseconds"),
        (appended("u1,i2,rec,-5,"), "raw/events.csv:66: time is '-5', expected milliseconds"),
        (appended(f"u1,i2,rec,{START * 9},"), f"raw/events.csv:66: time is '{START * 9}', expected milliseconds"),
        (appended("u1,i2,rec"), "raw/events.csv:66: 3 fields, expected 5"),
        (appended("u1,i2,rec,5,a,b"), "raw/events.csv:66: 6 fields, expected 5"),
        (appended("u1,,rec,5,"), "raw/events.csv:66: item_id is empty, expected an id"),
        (appended("i5,\x1b[31mred\x1b[0m,x", "items.csv"), "raw/items.csv:22: 3 fields, expected 2"),
        (replaced(lines(HEADER)), "raw/events.csv: the file has no rows"),
        (replaced(b""), "raw/events.csv: the file is empty"),
        (replaced(lines(HEADER, *EVENTS).decode().encode("utf-16")), "raw/events.csv: the file is UTF-16"),
        (replaced(lines(HEADER, *EVENTS[:1])), "data.raw: all events lie within a day"),
        (gzipped_and_cut, "raw/events.csv.gz: the gzip file is cut short or damaged"),
    ],
)
def test_bad_tables_are_one_line_and_leave_no_shards(
    spoil: Callable[[Path], object],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(tables(tmp_path / "raw"))
    code, out, err = prepared("tables", tmp_path, monkeypatch, capfd)
    assert (code, out) == (2, "")
    *_, error = err.rstrip("\n").split("\n")
    assert error.startswith(f"gensr: error: {expected}")
    assert error.isprintable()
    run = tmp_path / "runs" / "c"
    assert {path.name for path in run.iterdir()} == {".lock", "stages"}
    assert not any((run / "stages").iterdir())


@pytest.mark.parametrize(
    ("spoil", "repairs"),
    [
        (appended(EVENTS[0]), {"duplicate events dropped": 1}),
        (appended(f"u1,new,rec,{START + 5},"), {"items of events without features kept with empty text": 1}),
        (appended("", "items.csv"), {"blank rows of items.csv dropped": 1}),
        (appended("i3,again", "items.csv"), {"duplicate item rows dropped": 1}),
        (appended(f"u1,i2,src,{START + 5},"), {"searches with an empty query kept": 1}),
        (
            lambda raw: (raw / "users.csv").write_bytes(lines("user_id", "quiet", *(f"u{user}" for user in range(8)))),
            {"users dropped: too few interactions or only one behaviour": 1},  # who never met an item
        ),
        (replaced(b"\xef\xbb\xbf" + lines(HEADER, *EVENTS)), {}),
        (replaced(lines(HEADER, *EVENTS).replace(b"\n", b"\r\n", 20)), {}),
    ],
)
def test_what_is_fixed_is_counted(
    spoil: Callable[[Path], object],
    repairs: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(tables(tmp_path / "raw"))
    code, out, err = prepared("tables", tmp_path, monkeypatch, capfd)
    assert code == 0, err
    found = {repair["what"]: repair["count"] for repair in json.loads(out)["result"]["repairs"]}
    assert found.items() >= repairs.items()
    assert found.pop("rows of events.csv, which has no column positive, read as positive") > 0
    assert bool(found) == bool(repairs)
    assert all(f"{count} {what}" in err for what, count in repairs.items())


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("rec_inter", f"u7,1,{START},1", "user_id is 'u7', expected an integer of 0 or more"),
        ("rec_inter", "1,1,-1,1", "timestamp is '-1', expected milliseconds since 1970, from 1990 to"),
        ("src_inter", f'1,1,{START},"[1, 2",1', "keyword is '[1, 2', expected a list of word ids such as [1, 22]"),
        ("item_features", '4,"5 6",a,b,c,d', "caption is '5 6', expected a list of word ids such as [1, 22]"),
    ],
)
def test_bad_kuaisar_rows_name_file_line_and_column(
    name: str,
    row: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    files = {
        "rec_inter": [REC, f"1,3,{START},1"],
        "src_inter": [SRC, f'1,3,{START},"[1]",1'],
        "item_features": [f"item_id,caption,{CATEGORIES}", '3,"[5]",Food,,,'],
        "user_features": ["user_id", "1"],
    }
    (tmp_path / "raw").mkdir()
    for file, rows in files.items():
        (tmp_path / "raw" / f"{file}.csv").write_bytes(lines(*rows, *([row] if file == name else [])))
    code, out, err = prepared("kuaisar", tmp_path, monkeypatch, capfd)
    assert (code, out) == (2, "")
    assert f"gensr: error: raw/{name}.csv:3: {expected}" in err
    assert not (tmp_path / "runs" / "c" / "shards").exists()


def test_a_bad_log_does_not_touch_the_shards_of_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = tables(tmp_path / "raw")
    assert prepared("tables", tmp_path, monkeypatch, capfd)[0] == 0
    shards = tmp_path / "runs" / "c" / "shards"
    before = {path: path.read_bytes() for path in shards.rglob("*") if path.is_file()}
    appended("u1,i2,rec,noon,")(raw)
    assert prepared("tables", tmp_path, monkeypatch, capfd)[0] == 2
    assert {path: path.read_bytes() for path in shards.rglob("*") if path.is_file()} == before
    assert main(["verify", str(shards)]) == 0


@pytest.mark.parametrize("name", ["shard-00000.tar", "items/title_tokens.npy", "manifest.json"])
def test_preparing_again_fixes_what_was_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    tables(tmp_path / "raw")
    code, out, _ = prepared("tables", tmp_path, monkeypatch, capfd)
    assert (code, json.loads(out)["skipped"]) == (0, False)
    path = next(tmp_path.rglob("shards")) / name
    whole = path.read_bytes()
    path.write_bytes(whole[:2_000] + bytes([whole[2_000] ^ 1]) + whole[2_001:] if len(whole) > 2_000 else whole[:-2])
    assert main(["verify", str(next(tmp_path.rglob("shards")))]) == 2

    code, out, err = prepared("tables", tmp_path, monkeypatch, capfd)
    assert (code, json.loads(out)["skipped"]) == (0, False)
    assert name in err
    assert path.read_bytes() == whole
    code, out, _ = prepared("tables", tmp_path, monkeypatch, capfd)
    assert (code, json.loads(out)["skipped"]) == (0, True)
