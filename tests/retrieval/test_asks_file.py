"""Who asks what: lines are read as those of a log are, and a wrong one is named."""

import gzip
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from gensr_dist.errors import InputError
from gensr_dist.retrieval.asks_file import read_asks


def written(folder: Path, content: str | bytes, name: str = "asks.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_form_is_read_alike(tmp_path: Path) -> None:
    text = "user_id,query,note\nu1,,a\n007, red   w3 ,b\nu1,xyzzy,c\n"
    frame = read_asks(written(tmp_path, text)).frame
    assert frame.rows() == [("u1", None), ("007", "red w3"), ("u1", "xyzzy")]
    assert frame.schema == {"user_id": pl.String, "query": pl.String}
    assert read_asks(written(tmp_path, gzip.compress(text.encode()), "asks.csv.gz")).frame.equals(frame)
    assert read_asks(written(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())).frame.equals(frame)
    frame.write_parquet(tmp_path / "asks.parquet")
    assert read_asks(tmp_path / "asks.parquet").frame.equals(frame)
    assert read_asks(written(tmp_path, "user_id\n007\n")).frame.rows() == [("007", None)]


def test_what_is_repaired_is_counted(tmp_path: Path) -> None:
    asks = read_asks(written(tmp_path, 'user_id,query\n 2.0 ,"red\nhat"\n,\n7,R&amp;B\n'))
    assert asks.frame.rows() == [("2", "red hat"), ("7", "R&B")]
    assert {(repair.what.split(" of asks")[0], repair.count) for repair in asks.repairs} == {
        ("blank rows", 1),
        ("line breaks within quoted fields", 1),
        ("user_id", 1),
        ("queries with HTML entities decoded", 1),
    }


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    written(tmp_path, "user_id\nother\n", "u1.csv")
    assert read_asks(written(tmp_path, "user_id\nme\n", "u[1].csv")).frame.rows() == [("me", None)]
    pl.DataFrame({"user_id": ["me"]}).write_parquet(tmp_path / "u*.parquet")
    assert read_asks(tmp_path / "u*.parquet").frame.rows() == [("me", None)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("user,query\nu1,red\n", r"asks\.csv: missing column user_id, found user, query"),
        ("user_id,query\n", r"asks\.csv: "),
        ("user_id,Query\nu1,red\n", r"the name 'Query' of a column is written otherwise than 'query'"),
        ("user_id, query\nu1,red\n", r"the name ' query' of a column has blanks around it"),
        ("user_id,query,query\nu1,red,blue\n", r"column query is there 2 times"),
        ("user_id,query\nu1\nu2,red\n", r"asks\.csv:2: "),
        ('user_id,query\nu1,"red 3" foo\n', r"asks\.csv:2: "),
        ("user_id,query\nu1,red\n,blue\n", r"asks\.csv:3: user_id is empty, expected an id"),
        ("user_id,query\nu1,red\n".encode("utf-16"), r"UTF-16"),
        ("user_id\ru1\r", r"asks\.csv"),
    ],
)
def test_lines_that_do_not_ask_are_named(tmp_path: Path, content: str | bytes, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        read_asks(written(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"user_id": [["u1"]]}, "column user_id is List"),
        ({"user_id": ["u1"], "query": [["red"]]}, "column query is List"),
        ({"user_id": ["u1"], "query": [{"a": 1}]}, "column query is Struct"),
        ({"user_id": [b"\xff"]}, "column user_id is Binary"),
        ({"user_id": [datetime(2023, 5, 22)]}, "column user_id is Datetime"),
        ({"user_id": [1.5e17]}, "user_id is 1.5e[+]17, a Float64 that is not exact"),
    ],
)
def test_columns_that_are_no_text(tmp_path: Path, columns: dict[str, list[object]], fault: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "asks.parquet")
    with pytest.raises(InputError, match=fault):
        read_asks(tmp_path / "asks.parquet")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file that ends in"):
        read_asks(written(tmp_path, "user_id\n1\n", "asks.txt"))
    with pytest.raises(InputError, match="the file does not exist"):
        read_asks(tmp_path / "asks.csv")
