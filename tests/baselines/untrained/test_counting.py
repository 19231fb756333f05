import dataclasses
import math
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.baselines.untrained import counting
from gensr_dist.baselines.untrained.counting import Counting, TrainingCounts
from gensr_dist.baselines.untrained.item_words import word_matrices
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.data.words import TextWords
from gensr_dist.storage.folder import Folder
from tests.data.timeline_folders import ITEMS, QUERIES, random_negatives, random_timelines, write_folder
from tests.timelines import timelines_of_columns

WORDS = "red blue soap lamp tea salt glass wool oak tin".split()  # noqa: SIM905
CLOSE, RARE_SHARE = {"users": 0.7, "words": 0.3, "queries": 0.02}, 1 / 30


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def cosine(first: dict, second: dict) -> float:
    lengths = [math.sqrt(sum(value**2 for value in vector.values())) for vector in (first, second)]
    return sum(value * second.get(key, 0) for key, value in first.items()) / math.prod(lengths) if all(lengths) else 0.0


class Definition:
    """The scores by loops over events and words, one pair of items at a time."""

    def __init__(self, timelines: Timelines, texts: list[str], queries: list[str], popularity: list[int]) -> None:
        self.timelines, self.texts, self.queries, self.popularity = timelines, texts, queries, popularity
        items = range(len(texts))
        self.users: list[dict] = [{} for _ in items]
        self.found: list[Counter] = [Counter() for _ in items]
        for user, event in self.events():
            if timelines.split_N[event] != Split.TRAIN or not timelines.positive_N[event]:
                continue
            item, query = int(timelines.item_N[event]), int(timelines.query_N[event])
            if timelines.behaviour_N[event] == Behaviour.RECOMMENDATION:
                self.users[item][user] = 1
            elif query >= 0:
                self.found[item][query] += 1
        held = Counter(word for text in texts for word in words(text))
        rare = {word for word, count in held.items() if 2 <= count <= max(2, RARE_SHARE * len(texts))}
        self.tfidf = [{word: math.log(len(texts) / held[word]) for word in words(text) & rare} for text in texts]
        self.has = [words(text).union(*(words(queries[query]) for query in self.found[item])) for item, text in
                    enumerate(texts)]  # fmt: skip
        self.idf = {word: math.log(1 + len(texts) / count) for word, count in Counter(
            word for item in items for word in self.has[item]).items()}  # fmt: skip

    def events(self) -> list[tuple[int, int]]:
        starts = self.timelines.user_start_V
        return [(user, event) for user in range(len(starts) - 1) for event in range(starts[user], starts[user + 1])]

    def history(self, user: int, event: int) -> list[int]:
        """Items of the newest interactions before the event, newest first; twins are one interaction."""
        timelines, found = self.timelines, []
        for earlier in range(timelines.user_start_V[user], event):
            if timelines.positive_N[earlier] and timelines.time_N[earlier] < timelines.time_N[event]:
                entry = (int(timelines.time_N[earlier]), int(timelines.item_N[earlier]))
                if not found or found[-1] != entry:
                    found.append(entry)
        return [item for _, item in found[::-1][:20]]

    def close(self, first: int, second: int) -> float:
        if first == second:
            return 0.0
        return (
            CLOSE["users"] * cosine(self.users[first], self.users[second])
            + CLOSE["words"] * cosine(self.tfidf[first], self.tfidf[second])
            + CLOSE["queries"] * cosine(self.found[first], self.found[second])
        )

    def recommendation(self, user: int, event: int, item: int) -> float:
        close = sum(0.85**age * self.close(met, item) for age, met in enumerate(self.history(user, event)))
        return close + 0.025 * math.log(1 + self.popularity[item])

    def match(self, query: int, item: int) -> float:
        unit = {}
        for number, text in enumerate(self.queries):
            weight = {word: self.idf[word] for word in words(text) if word in self.idf}
            length = math.sqrt(sum(value**2 for value in weight.values()))
            unit[number] = {word: value / length for word, value in weight.items()}
        searches: Counter = Counter()
        for found, count in self.found[item].items():
            for word, value in unit[found].items():
                searches[word] += count * value
        known = words(self.queries[query]) & self.idf.keys()
        covered = sum(self.idf[word] for word in known & self.has[item])
        whole = sum(self.idf[word] for word in known)
        return (covered / whole if whole else 0.0) + cosine(unit[query], searches)

    def search(self, user: int, event: int, query: int, item: int) -> float:
        match = self.match(query, item) if query >= 0 else 0.0
        return 20 * match + 10 * self.recommendation(user, event, item) + math.log(1 + self.popularity[item])


@dataclasses.dataclass(frozen=True)
class Log:
    store: TimelineStore
    timelines: Timelines
    texts: list[str]
    queries: list[str]
    popularity_I: np.ndarray

    def scorer(self) -> Counting:
        text_IW, word_QW = word_matrices(*(TextWords.of(pl.Series(t, dtype=pl.String)) for t in self.all_texts()))
        counts = TrainingCounts.of(self.store, len(self.queries))
        return Counting(counts, text_IW, word_QW, self.popularity_I, self.store)

    def all_texts(self) -> tuple[list[str], list[str]]:
        return self.texts, self.queries

    def expected(self, rows: EvalRows) -> np.ndarray:
        definition = Definition(self.timelines, self.texts, self.queries, self.popularity_I.tolist())
        scores = np.empty(rows.candidate_RC.shape)
        for row, place in np.ndindex(*scores.shape):
            user, event, item = rows.user_R[row], rows.event_R[row], rows.candidate_RC[row, place]
            if rows.task_R[row] == Behaviour.SEARCH:
                scores[row, place] = definition.search(user, event, int(rows.query_R[row]), item)
            else:
                scores[row, place] = definition.recommendation(user, event, item)
        return scores


def log_of(
    folder: Path, seed: int, *, users: int = 12, events: int = 250, texts: bool = True, searches: bool = True
) -> Log:
    """A log of random events, titles and queries in shards of five users, each a window of its own."""
    timelines = random_timelines(seed, users, events)
    if not searches:
        timelines = dataclasses.replace(
            timelines,
            query_N=np.full_like(timelines.query_N, -1),
            behaviour_N=np.zeros_like(timelines.behaviour_N),
        )
    write_folder(folder, timelines, random_negatives(timelines, seed), users_per_shard=5)
    rng = np.random.default_rng(seed)
    titles = [" ".join(rng.choice([*WORDS, f"only{item}", f"pair{item // 2}"], rng.integers(0, 6))) for item in
              range(ITEMS)]  # fmt: skip
    trained_N = timelines.positive_N & (timelines.split_N == Split.TRAIN)
    return Log(
        store=TimelineStore.open(Folder.at(folder), shuffle_shards=1),
        timelines=timelines,
        texts=titles if texts else [""] * ITEMS,
        queries=[" ".join(rng.choice([*WORDS, f"asked{q}"], 2)) for q in range(QUERIES)] if searches else [],
        popularity_I=np.bincount(timelines.item_N[trained_N], minlength=ITEMS).astype(np.uint32),
    )


def rows_of(log: Log, task: Behaviour) -> EvalRows:
    return EvalRows.joined([log.store.eval_rows(split, task) for split in (Split.VALID, Split.TEST)])


@given(
    seed=st.integers(0, 2**31),
    users=st.integers(1, 13),
    events=st.integers(20, 260),
    texts=st.booleans(),
    searches=st.booleans(),
)
@settings(max_examples=20)
def test_scores_equal_the_definition(seed: int, users: int, events: int, texts: bool, searches: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = log_of(Path(folder), seed, users=users, events=events, texts=texts, searches=searches)
        scorer = log.scorer()
        for task in Behaviour:
            rows = rows_of(log, task).take(np.arange(min(12, len(rows_of(log, task)))))
            assert scorer.score(rows) == pytest.approx(log.expected(rows), abs=1e-9)


def test_a_prepared_log_gives_the_same(small_store: TimelineStore, small_items: ItemStore) -> None:
    log = Log(
        small_store,
        small_store.window(0).timelines,
        small_items.texts.to_list(),
        small_items.queries.to_list(),
        small_items.popularity_I,
    )
    scorer = Counting.of_log(small_store, small_items)
    for task in Behaviour:
        rows = small_store.eval_rows(Split.TEST, task).take(np.arange(8))
        score_RC = scorer.score(rows)
        assert score_RC == pytest.approx(log.expected(rows), abs=1e-9)
        assert np.unique(score_RC).size > score_RC.size / 2


@pytest.mark.parametrize("task", list(Behaviour))
def test_a_row_does_not_depend_on_the_others(task: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(tmp_path, 3)
    scorer, rows = log.scorer(), rows_of(log, task)
    assert len(rows) > 20
    whole = scorer.score(rows)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    assert np.array_equal(scorer.score(rows.take(shuffled)), whole[shuffled])
    monkeypatch.setattr(counting, "_BLOCK", 4)
    assert np.array_equal(scorer.score(rows), whole)
    alone = [scorer.score(rows.take(np.array([row]))) for row in range(len(rows))]
    assert np.array_equal(np.concatenate(alone), whole)


@pytest.fixture
def plain(tmp_path: Path) -> Log:
    """Users 0 and 1 chose items 1 and 2, user 2 item 1; user 3 searched query 0 and found item 3; user 4 is new."""
    rows = [  # user, time, item, behaviour, query, split
        (0, 1, 1, 0, -1, 0),
        (0, 2, 2, 0, -1, 0),
        (1, 1, 1, 0, -1, 0),
        (1, 2, 2, 0, -1, 0),
        (2, 1, 1, 0, -1, 0),
        (2, 9, 2, 0, -1, 2),
        (2, 9, 3, 1, 1, 2),
        (3, 1, 3, 1, 0, 0),
        (4, 9, 2, 0, -1, 2),
        (4, 9, 3, 1, 2, 2),
    ]
    user_N, time_N, item_N, behaviour_N, query_N, split_N = np.array(rows).T
    columns = {"item_N": item_N, "time_N": time_N, "behaviour_N": behaviour_N, "query_N": query_N, "split_N": split_N}
    timelines = timelines_of_columns(5, user_N, **columns)
    write_folder(tmp_path, timelines, np.tile(np.array([5, 6, 7, 8], dtype=np.uint32), (4, 1)), users_per_shard=5)
    popularity_I = np.bincount(item_N[split_N == 0], minlength=ITEMS)
    texts = ["", "", "", "green cup", "", "", "dark jug", "plate", "", *[""] * (ITEMS - 9)]
    queries = ["small bowl", "bowl", "jug dark", "unheard of"]
    return Log(TimelineStore.open(Folder.at(tmp_path)), timelines, texts, queries, popularity_I)


def with_candidates(rows: EvalRows, candidates: list[int], **changes: int) -> EvalRows:
    first = rows.take(np.array([0]))
    values = {name: np.array([value]) for name, value in changes.items()}
    return dataclasses.replace(first, candidate_RC=np.array([candidates]), **values)


def test_users_of_the_same_items_recommend(plain: Log) -> None:
    rows = plain.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    (score_C,) = plain.scorer().score(with_candidates(rows, [2, 3, 5]))
    assert score_C[0] == pytest.approx(0.7 * 2 / math.sqrt(3 * 2) + 0.025 * math.log(3))
    assert score_C[1:] == pytest.approx([0.025 * math.log(2), 0])


def test_an_item_of_the_history_gains_nothing_from_itself(plain: Log) -> None:
    rows = plain.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    (score_C,) = plain.scorer().score(with_candidates(rows, [1, 5]))
    assert score_C == pytest.approx([0.025 * math.log(4), 0])


def test_without_a_history_popularity_decides(plain: Log) -> None:
    scorer = plain.scorer()
    rows = plain.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    newcomer = rows.take(np.array([1]))
    assert newcomer.user_R.tolist() == [4]
    assert scorer.score(newcomer)[0] == pytest.approx(0.025 * np.log1p(plain.popularity_I[newcomer.candidate_RC[0]]))


def test_an_unseen_query_finds_by_its_words(plain: Log) -> None:
    rows = plain.store.eval_rows(Split.TEST, Behaviour.SEARCH)
    scorer, candidates = plain.scorer(), [3, 6, 7, 5]
    popular = 10 * 0.025 * math.log(2) + math.log(2)  # item 3 alone was chosen, once
    by_title = scorer.score(with_candidates(rows.take(np.array([1])), candidates, query_R=2))[0]
    assert by_title == pytest.approx([popular, 20, 0, 0])
    by_other_query = scorer.score(with_candidates(rows.take(np.array([1])), candidates, query_R=1))[0]
    assert by_other_query == pytest.approx([popular + 20 * (1 + 1 / math.sqrt(2)), 0, 0, 0])
    for query in (3, -1):  # no known word, no query
        assert scorer.score(with_candidates(rows.take(np.array([1])), candidates, query_R=query))[0] == pytest.approx(
            [popular, 0, 0, 0]
        )
