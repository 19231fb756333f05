"""Two odd quotes that make one field of several rows."""

from pathlib import Path

import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog, Repair
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError

from .kuaisar_files import DAY, START, write_kuaisar, write_tables

HEADER = "user_id,item_id,behaviour,time,query,positive"
BREAKS = "line breaks within quoted fields of {} read as blanks"


def events(*queries: str) -> str:
    return "\n".join([HEADER, *(f"a,x,src,{START + n * DAY + 7},{query},true" for n, query in enumerate(queries)), ""])


def read(folder: Path, source: str = "tables") -> EventLog:
    return read_source(DataConfig(source=source), folder)


@pytest.mark.parametrize("between", [0, 1, 3])
def test_rows_between_odd_quotes_are_not_one_query(tmp_path: Path, between: int) -> None:
    text = events("hat", '"red tv', *["shoes"] * between, '20"', "cap")
    with pytest.raises(InputError) as caught:
        read(write_tables(tmp_path, events=text))
    expected = (
        f"events.csv:3: a quote opens here and closes {between + 1} rows later; write a quote within a field twice"
    )
    assert expected in str(caught.value)


def test_a_fault_further_on_does_not_hide_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"events.csv:3: a quote opens here"):
        read(write_tables(tmp_path, events=events("hat", '"red tv', '20"', "cap") + "a,x,buy,5,,\n"))


def test_columns_that_are_not_read_swallow_rows_too(tmp_path: Path) -> None:
    rows = ['1,3,"new,1684713600007,1', "2,4,old,1684713600008,0", '1,4,big",1684813600007,1']
    text = "\n".join(["user_id,item_id,tab,timestamp,click", *rows, ""])
    with pytest.raises(InputError, match=r"rec_inter.csv:2: a quote opens here and closes 2 rows later"):
        read(write_kuaisar(tmp_path, rec_inter=text), "kuaisar")


def test_queries_of_several_lines_are_read_and_counted(tmp_path: Path) -> None:
    queries = ["red\nshoes", "a,b,c,d,e\nf", "a,b\nc,d,e,f", "src,1,x,x\nx,x"]
    log = read(write_tables(tmp_path, events=events(*(f'"{query}"' for query in queries))))
    assert sorted(log.queries["text"]) == sorted(query.replace("\n", " ") for query in queries)
    assert Repair(BREAKS.format("events.csv"), 4) in log.repairs


def test_of_texts_alone_line_breaks_are_counted(tmp_path: Path) -> None:
    log = read(write_tables(tmp_path, items='item_id,text\nx,"red\ny,hat"\n'))
    assert log.items.rows() == [("x", "red y,hat"), ("y", "")]
    assert Repair(BREAKS.format("items.csv"), 1) in log.repairs
