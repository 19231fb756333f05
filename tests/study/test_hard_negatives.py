import numpy as np

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.study.hard_negatives import with_bm25_negatives, with_same_query_negatives


def chosen_by(store: TimelineStore, user: int) -> set[int]:
    """Items that a user chooses at any time, read off the timelines."""
    for window in store.windows():
        timelines, local = window.timelines, user - window.first_user
        if 0 <= local < timelines.users:
            mine_N = (timelines.user_N == local) & timelines.positive_N
            return set(timelines.item_N[mine_N].tolist())
    raise AssertionError


def test_they_are_the_first_of_bm25_that_the_user_never_chooses(
    small_store: TimelineStore, small_items: ItemStore
) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    hard = with_bm25_negatives(rows, small_store, small_items)
    text = BM25(small_items.texts.to_list(), small_items.queries.to_list())
    earlier_RH, _ = small_store.gather_histories(rows.user_R, rows.history_end_R, 1_000)
    harder = later = 0
    for row in range(len(rows)):
        score_I = text.catalogue(small_items.queries[int(rows.query_R[row])])
        chosen = chosen_by(small_store, int(rows.user_R[row]))
        assert int(rows.candidate_RC[row, 0]) in chosen
        expected = [item for item in np.argsort(-score_I, kind="stable").tolist() if item not in chosen][:9]
        assert hard.candidate_RC[row].tolist() == [rows.candidate_RC[row, 0], *expected]
        harder += score_I[hard.candidate_RC[row, 1:]].sum() > score_I[rows.candidate_RC[row, 1:]].sum()
        later += not chosen <= {*earlier_RH[row].tolist(), int(rows.candidate_RC[row, 0])}
    assert harder > 0.9 * len(rows) > 20
    assert later  # some users choose other items at the same moment or later


def test_others_of_the_same_query_take_the_place_of_random_ones(small_store: TimelineStore) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    queries = int(rows.query_R.max()) + 1
    listed = [np.arange(query % 7, dtype=np.uint32) * 3 for query in range(queries)]
    start_Q = np.cumsum([0, *map(len, listed)])
    fitting = QueryItems(start_Q, np.concatenate(listed).astype(np.uint32))
    hard = with_same_query_negatives(rows, small_store, fitting)
    for row in range(len(rows)):
        positive, *negatives = hard.candidate_RC[row].tolist()
        assert positive == rows.candidate_RC[row, 0]
        assert len(set(negatives)) == len(negatives) == rows.candidate_RC.shape[1] - 1
        assert positive not in negatives
        expected = set(listed[int(rows.query_R[row])].tolist()) - chosen_by(small_store, int(rows.user_R[row]))
        assert set(negatives[: len(expected)]) == expected
        own = [item for item in rows.candidate_RC[row, 1:].tolist() if item not in expected]
        assert negatives[len(expected) :] == own[: len(negatives) - len(expected)]  # the first that were drawn
    again = with_same_query_negatives(rows, small_store, fitting)
    assert np.array_equal(again.candidate_RC, hard.candidate_RC)
