from pathlib import Path

import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Repair
from gensr_dist.data.sources import read_source
from gensr_dist.data.sources.texts import clean

from .kuaisar_files import ITEM_HEADER, item_row, write_kuaisar


def cleaned(*texts: str | None) -> tuple[list[str | None], dict[str, int]]:
    series, repairs = clean(pl.Series("text", texts, dtype=pl.String), "queries")
    return series.to_list(), {repair.what: repair.count for repair in repairs if repair.count}


def test_good_texts_stay() -> None:
    texts = ["AT&T", "a & b", "", None, "nano", "灯 é"]
    assert cleaned(*texts) == (texts, {})


def test_control_characters_and_byte_order_marks_become_blanks() -> None:
    texts, counts = cleaned("\ufeffred", "a\x00b", "a\x1a", "T\x0cea", "a \u2028\tb", "good", None)
    assert texts == ["red", "a b", "a", "T ea", "a b", "good", None]
    assert counts == {"queries with control characters, which became blanks": 5}


def test_characters_without_width_are_dropped() -> None:
    texts, counts = cleaned(
        "red\u200b tea", "red tea", "\u200f&shy;tea\u2060 ", "\u0646\u200c\u0645", "\U0001f468\u200d\U0001f33e"
    )
    assert texts == ["red tea", "red tea", "tea", "\u0646\u200c\u0645", "\U0001f468\u200d\U0001f33e"]
    assert counts == {
        "queries with HTML entities decoded": 1,
        "queries with characters that cannot be seen, which were dropped": 2,
    }


def test_letters_and_marks_apart_are_composed() -> None:
    texts, counts = cleaned("cafe\u0301", "caf\u00e9", "\u1112\u1161\u11ab", "\u0915\u093f", None)
    assert texts == ["caf\u00e9", "caf\u00e9", "\ud55c", "\u0915\u093f", None]  # the last has no composed form
    assert counts == {"queries with letters and marks apart, which were composed": 2}


def test_words_for_none_are_kept_and_counted() -> None:
    texts, counts = cleaned("\\N", "NULL", "nan", "null pointer")
    assert texts == ["\\N", "NULL", "nan", "null pointer"]
    assert counts == {"queries that are NULL, nan or the like kept": 3}


def test_categories_that_are_words_for_none_are_left_out(tmp_path: Path) -> None:
    items = "\n".join(
        [ITEM_HEADER, item_row(3, "[]", ("NULL", "Cake", "nan")), item_row(4, "[]", ("unknown", "Tea")), ""]
    )
    log = read_source(DataConfig(source="kuaisar"), write_kuaisar(tmp_path, item_features=items))
    assert dict(log.items.rows()) == {"3": "Cake", "4": "Tea", "20": ""}
    assert Repair("categories that are NULL, nan or the like left out", 2) in log.repairs
