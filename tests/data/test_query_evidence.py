"""Evidence of queries against counting in loops over the log, and a training row's against the log without it."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from gensr_dist.baselines.untrained.item_words import word_counts
from gensr_dist.data.batches.batch import QUERY_FEATURES
from gensr_dist.data.query_evidence import FILES, OwnSearches, QueryEvidence
from gensr_dist.data.repeated_searches import RepeatedSearches
from gensr_dist.data.sparse_vectors import counted
from gensr_dist.data.words import WORDS, TextWords
from gensr_dist.errors import InputError

TEXTS = ("green tea", "black tea with milk", "", "salt", "sea salt salt")
QUERIES = ("tea", "green leaves", "salt sea", "", "milk tea", "leaves")
SEARCHES = ((0, 0), (1, 0), (1, 0), (1, 2), (2, 3), (3, 3), (4, 1), (5, 2))  # query, item

Search = tuple[int, int]


def evidence_of(
    searches: Sequence[Search],
    texts: Sequence[str] = TEXTS,
    queries: Sequence[str] = QUERIES,
    users: Sequence[int] | None = None,
) -> QueryEvidence:
    """Each search is another user's unless `users` says whose."""
    sides = [TextWords.of(pl.Series(side, dtype=pl.String)) for side in (texts, queries)]
    hash_W, (text_IW, word_NW) = word_counts(*sides)
    query_M, item_M = np.array(searches, dtype=np.int64).reshape(-1, 2).T
    found_IN = counted(item_M, query_M, (len(texts), len(queries)))
    found_IN.sum_duplicates()
    user_M = np.arange(len(item_M)) if users is None else np.array(users, dtype=np.int64)
    repeated = RepeatedSearches.among(user_M * len(texts) + item_M, query_M)
    return QueryEvidence.of(hash_W, text_IW, word_NW, found_IN, repeated)


def by_loops(
    searches: Sequence[Search], query: str, item: int, texts: Sequence[str] = TEXTS, idf: dict[str, float] | None = None
) -> list[float]:
    """The four features in plain Python."""
    idf = idf_of(searches, texts) if idf is None else idf
    words = sorted({word for word in query.split() if idf.get(word, 0) > 0})
    found: Counter[str] = Counter()
    for asked, _ in (search for search in searches if search[1] == item):
        for word, weight in unit(QUERIES[asked].split(), idf).items():
            found[word] += weight
    own = unit(words, idf)
    has = set(texts[item].split()) | {word for word, weight in found.items() if weight > 1e-9}
    dot = sum(found[word] * own[word] for word in words)
    length = math.sqrt(sum(weight**2 for weight in found.values()))
    share = sum(idf[word] for word in words if word in has) / sum(idf[word] for word in words) if words else 0.0
    ended = sum(search[1] == item for search in searches)
    return [share, dot / length if dot else 0.0, math.log1p(dot), math.log1p(ended)]


def idf_of(searches: Sequence[Search], texts: Sequence[str] = TEXTS) -> dict[str, float]:
    holders: dict[str, set[int]] = {}
    for item, text in enumerate(texts):
        for word in text.split():
            holders.setdefault(word, set()).add(item)
    for query, item in searches:
        for word in QUERIES[query].split():
            holders.setdefault(word, set()).add(item)
    return {word: math.log1p(len(texts) / len(items)) for word, items in holders.items()}


def unit(words: Sequence[str], idf: dict[str, float]) -> dict[str, float]:
    weights = {word: idf[word] for word in set(words) if idf.get(word, 0) > 0}
    length = math.sqrt(sum(weight**2 for weight in weights.values()))
    return {word: weight / length for word, weight in weights.items()}


def features(evidence: QueryEvidence, query: int, items: Sequence[int], own: OwnSearches | None = None) -> np.ndarray:
    return evidence.features(evidence.asked(np.array([query])), np.array([items]), own)[0]


def own_search(user: int, query: int) -> OwnSearches:
    return OwnSearches(np.array([user]), np.array([query]))


SEARCH = st.tuples(st.integers(0, len(QUERIES) - 1), st.integers(0, len(TEXTS) - 1))


@settings(deadline=None)
@given(st.lists(SEARCH, max_size=12))
def test_equals_counting_in_loops(searches: list[Search]) -> None:
    evidence = evidence_of(searches)
    for query, text in enumerate(QUERIES):
        expected = [by_loops(searches, text, item) for item in range(len(TEXTS))]
        assert_allclose(features(evidence, query, range(len(TEXTS))), expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), SEARCH), min_size=1, max_size=12))
def test_a_row_is_told_what_a_log_without_its_users_searches_for_the_target_tells(
    log: list[tuple[int, Search]],
) -> None:
    users, searches = [user for user, _ in log], [search for _, search in log]
    user, (query, item) = log[0]
    items = [item, *(other for other in range(len(TEXTS)) if other != item)]
    told = features(evidence_of(searches, users=users), query, items, own_search(user, query))
    idf = idf_of(searches)  # of the whole log: how rare a word is says nothing of one row
    others = [search for whose, search in log if (whose, search[1]) != (user, item)]
    expected = [by_loops(others if other == item else searches, QUERIES[query], other, idf=idf) for other in items]
    assert_allclose(told, expected, rtol=1e-4, atol=2e-4)


def test_the_only_search_of_an_item_leaves_nothing_behind() -> None:
    told = features(evidence_of([(1, 3)]), 1, [3, 0], own_search(0, 1))
    assert_allclose(told[0], 0, atol=1e-6)
    assert told[1, 0] > 0, "the other candidate's text has a word of the query"


def test_a_row_without_a_query_has_no_search_to_leave_out() -> None:
    evidence = evidence_of(SEARCHES)
    assert_array_equal(features(evidence, -1, [1, 2], own_search(1, -1)), features(evidence, -1, [1, 2]))


def test_typed_words_are_those_of_the_log_and_unknown_ones_are_left_out() -> None:
    evidence = evidence_of(SEARCHES)
    asked_ZQ, typed_ZQ = evidence.asked(np.arange(len(QUERIES))), evidence.typed(QUERIES)
    assert_array_equal(np.sort(asked_ZQ, axis=1), np.sort(typed_ZQ, axis=1))
    assert_array_equal(evidence.typed(["TEA, nonsense"]), evidence.typed(["tea"]))
    assert evidence.typed(["nonsense", ""]).shape == (2, 0)


def test_no_query_and_padded_candidates_are_told_nothing_that_counts() -> None:
    evidence = evidence_of(SEARCHES)
    nothing_2Q = evidence.asked(np.array([-1, 3]))
    told_2CF = evidence.features(nothing_2Q, np.array([[0, -1], [1, 2]]))
    assert told_2CF.shape == (2, 2, QUERY_FEATURES)
    assert not told_2CF[..., :3].any()


def test_a_log_without_texts_or_searches() -> None:
    silent = evidence_of([], texts=["", ""], queries=[""])
    told = silent.features(silent.asked(np.array([0])), np.array([[0, 1]]))
    assert not told.any()


def test_added_items_have_the_known_words_of_their_texts() -> None:
    grown = evidence_of(SEARCHES).with_items(pl.Series(["green unheard", "salt tea"]))
    told = grown.features(grown.typed(["green tea"]), np.array([[5, 6]]))[0]
    idf = idf_of(SEARCHES)
    both = idf["green"] + idf["tea"]
    assert_allclose(told[:, 0], [idf["green"] / both, idf["tea"] / both], rtol=1e-5)
    assert not told[:, 1:].any()


def test_saved_and_mapped_it_is_the_same(tmp_path: Path) -> None:
    evidence = evidence_of(SEARCHES)
    evidence.save(tmp_path)
    np.save(tmp_path / WORDS, evidence.hash_W)
    opened = QueryEvidence.open(tmp_path, len(TEXTS))
    for query in range(len(QUERIES)):
        assert_array_equal(features(opened, query, range(5)), features(evidence, query, range(5)))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told_with_the_remedy(tmp_path: Path, name: str) -> None:
    evidence = evidence_of(SEARCHES)
    evidence.save(tmp_path)
    np.save(tmp_path / WORDS, evidence.hash_W)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: the file does not exist; run `gensr channels`"):
        QueryEvidence.open(tmp_path, len(TEXTS))


def test_evidence_of_another_catalogue_is_refused(tmp_path: Path) -> None:
    evidence = evidence_of(SEARCHES)
    evidence.save(tmp_path)
    np.save(tmp_path / WORDS, evidence.hash_W)
    with pytest.raises(InputError, match="not the evidence of a catalogue of 6 items"):
        QueryEvidence.open(tmp_path, 6)


def test_a_popular_item_loses_its_own_search_without_a_trace_of_rounding() -> None:
    found_IN = csr_array(np.array([[100_000.0, 1.0]]))
    hash_W, (text_IW, word_NW) = word_counts(*(TextWords.of(pl.Series(side)) for side in (["salt"], ["tea", "milk"])))
    nothing = RepeatedSearches.among(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    evidence = QueryEvidence.of(hash_W, text_IW, word_NW, found_IN, nothing)
    told = features(evidence, 1, [0], own_search(7, 1))[0]
    assert_allclose(told, [0, 0, 0, math.log1p(100_000)], atol=1e-6)
