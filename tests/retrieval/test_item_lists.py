"""Files of item ids that come with a request."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.errors import InputError
from gensr_dist.retrieval.answer import Choice
from gensr_dist.retrieval.item_lists import GivenItems, history_of, read_history, read_items

IDS = pl.Series(["a", "7", "b c", "-1"])


def written(folder: Path, content: bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content)
    return path


def test_a_history_in_its_order_with_repeats_and_behaviours(tmp_path: Path) -> None:
    path = written(tmp_path, b"7\nb c\tsearch\n\nnothing\n7\tboth\n-1\trecommendation\n")
    history = read_history(path, IDS)
    assert history.item_M.tolist() == [1, 2, 1, 3]
    assert history.behaviour_M.tolist() == [1, 2, 3, 1]
    assert history.unknown == 1


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa\r\nb c\r\n", b"a\nb c", b"\n a \nb c\n\n"])
def test_ends_of_lines_blanks_and_a_byte_order_mark_do_not_matter(tmp_path: Path, content: bytes) -> None:
    assert read_history(written(tmp_path, content), IDS).item_M.tolist() == [0, 2]


def test_items_are_distinct(tmp_path: Path) -> None:
    given_items = read_items(written(tmp_path, b"-1\na\n-1\nx\ny\n"), IDS)
    assert given_items.item_M.tolist() == [0, 3]
    assert given_items.unknown == 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a\n7\tbought\n", r"line 2: behaviour 'bought', expected one of recommendation, search, both; write"),
        (b"", r"it has no line; give item ids"),
        (b"\n \n", r"it has no line"),
        (b"a\n\xff\n", r"byte 2 is not UTF-8; save it as UTF-8"),
    ],
)
def test_what_is_wrong_with_a_history_is_said_in_a_line(tmp_path: Path, content: bytes, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        read_history(written(tmp_path, content), IDS)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_items(tmp_path / "none.txt", IDS)


@settings(max_examples=40)
@given(catalogue=st.sets(st.text("ab", max_size=3)), ids=st.lists(st.text("ab", max_size=3)))
def test_rows_are_those_of_a_search_through_the_catalogue(catalogue: set[str], ids: list[str]) -> None:
    item_ids = pl.Series(sorted(catalogue), dtype=pl.String)
    history = history_of(ids, item_ids)
    known = [item for item in ids if item in catalogue]
    assert history.item_M.tolist() == [sorted(catalogue).index(item) for item in known]
    assert history.item_M.dtype == np.int64
    assert history.unknown == len(ids) - len(known)


@settings(max_examples=40)
@given(only=st.none() | st.sets(st.integers(0, 5)), exclude=st.none() | st.sets(st.integers(0, 5)))
def test_what_may_be_answered(only: set[int] | None, exclude: set[int] | None) -> None:
    sets = [None if chosen is None else GivenItems(item_M=_array(chosen), unknown=0) for chosen in (only, exclude)]
    allowed_I = Choice(only=sets[0], exclude=sets[1]).allowed(6)
    if only is None and exclude is None:
        assert allowed_I is None
    else:
        assert allowed_I is not None
        expected = (set(range(6)) if only is None else only) - (exclude or set())
        assert set(allowed_I.nonzero()[0].tolist()) == expected


def test_unknown_ids_are_counted_in_notes() -> None:
    choice = Choice(only=GivenItems(item_M=_array({1}), unknown=2), exclude=GivenItems(item_M=_array({2}), unknown=0))
    assert choice.notes == ("2 of the ids to choose from are not in the catalogue",)


def _array(items: set[int]) -> "pl.Series":
    return pl.Series(sorted(items), dtype=pl.Int64).to_numpy()
