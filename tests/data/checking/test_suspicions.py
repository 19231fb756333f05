"""One spoiled log a rule: it is found, with its count; a good log gives none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.data.checking.log_check import check_log
from gensr_dist.data.config import DataConfig

DAY = 86_400_000
START = 1_684_713_600_000
USERS, ITEMS, EVENTS = 40, 50, 4_000

Row = list[str]


def rows_of_a_good_log() -> list[Row]:
    """User, item, behaviour, time, query, positive; 100 days, every user does both."""
    return [
        [
            f"u{n % USERS}",
            f"i{n * 7 % 30 + n // USERS % 20}",
            "src" if n // USERS % 2 else "rec",
            str(START + n * DAY // 40 + n),
            f"red {n % 90}" if n // USERS % 2 else "",
            "true",
        ]
        for n in range(EVENTS)
    ]


def found_in(folder: Path, rows: list[Row], texts: dict[str, str] | None = None, **changed: Any) -> list[str]:
    lines = ["user_id,item_id,behaviour,time,query,positive", *(",".join(row) for row in rows), ""]
    (folder / "events.csv").write_text("\n".join(lines))
    items = texts if texts is not None else {f"i{n}": f"Shoes {n}" for n in range(ITEMS)}
    lines = ["item_id,text", *(f"{item},{text}" for item, text in items.items()), ""]
    (folder / "items.csv").write_text("\n".join(lines))
    config = DataConfig(
        **(
            {"source": "tables", "eval_negatives": 2, "split": "time", "test_share": 0.2, "both_behaviours": False}
            | changed
        )
    )
    return [suspicion.what for suspicion in check_log(config, str(folder), full=True).suspicions]


def test_a_good_log_has_none(tmp_path: Path) -> None:
    assert found_in(tmp_path, rows_of_a_good_log()) == []


def put(column: int, value: Callable[[int, str], str]) -> list[Row]:
    """The good log with other values in a column, of the row's number and the value before."""
    return [[*row[:column], value(n, row[column]), *row[column + 1 :]] for n, row in enumerate(rows_of_a_good_log())]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row for row in rows_of_a_good_log() if row[2] == "rec"], "no event is a search"),
        ([row for row in rows_of_a_good_log() if row[2] == "src"], "no event is a recommendation"),
        (
            [[row[0] + row[2], *row[1:]] for row in rows_of_a_good_log()],
            "none of 40 users who searched is among the 40 who were recommended to",
        ),
        (
            [[*row[:3], str(int(row[3]) - (row[2] == "src") * 5_000 * DAY), *row[4:]] for row in rows_of_a_good_log()],
            "all searches (2009-09-13 to 2009-12-20) lie before all recommendations (2023-05-22 to 2023-08-28)",
        ),
        (
            [[*row[:5], str(row[2] == "src").lower()] for row in rows_of_a_good_log()],
            "0 of 2,000 recommendation events are positive",
        ),
        (
            put(1, lambda n, item: item if n % 50 > 9 else f"new{n % 7}"),
            "7 of 56 (12.5 %) items of events are not listed",
        ),
        (put(4, lambda n, query: "" if n % 3 else query), "1,333 of 2,000 (66.7 %) search events have no query"),
        (
            put(4, lambda n, query: query and ("all" if n % 2 else query)),
            "1,000 of 2,000 (50.0 %) search events have the query 'all'",
        ),
        (
            [[*row[:4], row[4] and f"SHOES {row[1][1:]}", row[5]] for row in rows_of_a_good_log()],
            "2,000 of 2,000 (100.0 %) search events have their item's text as query",
        ),
        (put(3, lambda n, time: str(START + n * 20_000) if n % 3 else time), "events lie on 2023-05-22"),
        (
            put(3, lambda n, time: str(START) if n % 10 == 0 else time),
            "400 of 4,000 (10.0 %) events have one time, 2023-05-22 00:00:00",
        ),
        (
            put(3, lambda n, time: str(START - 4_000 * DAY) if n == 7 else time),
            "1 of 4,000 (0.0 %) events lie far from all others",
        ),
        (
            put(0, lambda n, user: "guest" if n % 4 == 0 else user),
            "1,000 of 4,000 (25.0 %) events are of one user, 'guest'",
        ),
        (put(1, lambda n, item: "i0" if n % 3 == 0 else item), "events are of one item, 'i0'"),
        (
            rows_of_a_good_log() + rows_of_a_good_log()[:1_000],
            "1,000 of 5,000 (20.0 %) events are equal to an earlier one",
        ),
        (put(0, lambda n, user: f"s{n}"), "half of the 4,000 users or more have one event"),
        (
            [[*row[:3], str(START + int(row[0][1:]) * DAY), *row[4:]] for row in rows_of_a_good_log()],
            "40 of 40 (100.0 %) users with several events have one time for all",
        ),
        (put(0, lambda n, user: user if n % 5 == 0 else f"s{n}"), "events fall away with their user or item"),
        (rows_of_a_good_log()[:800], "search events to test: results will be noise"),
    ],
)
def test_what_looks_wrong(tmp_path: Path, rows: list[Row], expected: str) -> None:
    found = found_in(tmp_path, rows)
    assert any(expected in what for what in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (lambda n: "" if n % 2 else f"Shoes {n}", "25 of 50 (50.0 %) items have no text"),
        (lambda n: "N/A" if n % 5 == 0 else f"Shoes {n}", "10 of 50 (20.0 %) items have the same text, 'N/A'"),
        (
            lambda n: "NULL" if n in (3, 8) else f"Shoes {n}",
            "2 of 50 (4.0 %) items have a word for no value as text",
        ),
        (lambda n: f"Shoes<br>{n}", "50 of 50 (100.0 %) texts hold HTML tags"),
        (
            lambda n: f"cafÃ© {n}" if n < 5 else f"Shoes {n}",
            "5 of 50 (10.0 %) texts hold characters of a wrong encoding",
        ),
    ],
)
def test_texts_that_look_wrong(tmp_path: Path, text: Callable[[int], str], expected: str) -> None:
    found = found_in(tmp_path, rows_of_a_good_log(), {f"i{n}": text(n) for n in range(ITEMS)})
    assert len(found) == 1
    assert expected in found[0]
