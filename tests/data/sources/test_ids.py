from pathlib import Path

import polars as pl
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.sources import read_source
from gensr_dist.data.sources.ids import explain_id, parse_id
from gensr_dist.errors import InputError

from .kuaisar_files import write_tables


def parsed(*texts: str) -> list[str | None]:
    return pl.DataFrame({"id": texts}).select(parse_id(pl.col("id"), "item_id")).to_series().to_list()


@pytest.mark.parametrize(
    "text",
    [
        "u1",
        "7",
        "007",
        "Ünïq 7",
        "a\u200db",
        "12e",
        "B00E5",
        "item",
        "12E5",
        "5,3",
        "nila",
        "#1",
        "❤\ufe0f",
        "👩\u200d🚀",
    ],
)
def test_ids_are_kept(text: str) -> None:
    assert parsed(text) == [text]


def test_ids_are_stripped_and_made_whole() -> None:
    assert parsed(" u1\t", "12.0", " 12.0 ") == ["u1", "12", "12"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\ufeffu1", " (with characters that cannot be seen)"),
        ("u1\u200b", " (with characters that cannot be seen)"),
        ("u1\u2069", " (with characters that cannot be seen)"),
        ("u\u180e1", " (with characters that cannot be seen)"),
        ("u\x7f1", " (with characters that cannot be seen)"),
        ("u\x001", " (with characters that cannot be seen)"),
        *(
            (f"u{sign}1", " (with characters that cannot be seen)")
            for sign in "\u061c\u034f\u115f\u1160\u3164\uffa0\u2800\U000e0001\U000e0041"
        ),
        ("\ufe0fu1", " (with characters that cannot be seen)"),
        ("caf\ufffd", " (U+FFFD stands for letters that were lost)"),
        ("item_id", " (a header between rows)"),
        *(
            (word, " (a word for no value)")
            for word in (
                *("nan", "nUlL", "NIL", "<nil>", "(null)", "<null>", "-nan", "-NaN", "1.#QNAN", "#NA", "#N/A N/A"),
                *("#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#N/A", "#######", "[object Object]"),
            )
        ),
        *(
            (number, " (a float that has lost digits)")
            for number in ("1.5e+07", "1,23E+11", "12.3E+10", "123E+9", "1,23e11", "-1.5E+07", "1.E+11")
        ),
    ],
)
def test_what_is_no_id(text: str, why: str) -> None:
    assert parsed(text) == [None]
    assert explain_id(text, "item_id") == why


def test_an_empty_text_is_no_header() -> None:
    assert explain_id("") == ""


def test_tables_put_one_behind_the_other(tmp_path: Path) -> None:
    items = "item_id,text\nx,Hat\ny,Shoes\n"
    with pytest.raises(InputError, match=r"items.csv:4: item_id is 'item_id' \(a header between rows\), expected"):
        read_source(DataConfig(source="tables"), write_tables(tmp_path, items=items + items))
