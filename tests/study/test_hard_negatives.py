import numpy as np

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.study.hard_negatives import with_bm25_negatives, with_same_query_negatives


def test_they_are_the_first_of_bm25_that_the_user_had_not_met(
    small_store: TimelineStore, small_items: ItemStore
) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    hard = with_bm25_negatives(rows, small_store, small_items)
    text = BM25(small_items.texts.to_list(), small_items.queries.to_list())
    met_RH, _ = small_store.gather_histories(rows.user_R, rows.history_end_R, 1_000)
    harder = 0
    for row in range(len(rows)):
        score_I = text.catalogue(small_items.queries[int(rows.query_R[row])])
        met = {*met_RH[row].tolist(), int(rows.candidate_RC[row, 0])}
        expected = [item for item in np.argsort(-score_I, kind="stable").tolist() if item not in met][:9]
        assert hard.candidate_RC[row].tolist() == [rows.candidate_RC[row, 0], *expected]
        harder += score_I[hard.candidate_RC[row, 1:]].sum() > score_I[rows.candidate_RC[row, 1:]].sum()
    assert harder > 0.9 * len(rows) > 20


def test_others_of_the_same_query_take_the_place_of_random_ones(small_store: TimelineStore) -> None:
    rows = small_store.eval_rows(Split.TEST, Behaviour.SEARCH)
    queries = int(rows.query_R.max()) + 1
    listed = [np.arange(query % 7, dtype=np.uint32) * 3 for query in range(queries)]
    start_Q = np.cumsum([0, *map(len, listed)])
    fitting = QueryItems(start_Q, np.concatenate(listed).astype(np.uint32))
    hard = with_same_query_negatives(rows, small_store, fitting)
    met_RH, _ = small_store.gather_histories(rows.user_R, rows.history_end_R, 1_000)
    for row in range(len(rows)):
        positive, *negatives = hard.candidate_RC[row].tolist()
        assert positive == rows.candidate_RC[row, 0]
        assert len(set(negatives)) == len(negatives) == rows.candidate_RC.shape[1] - 1
        assert positive not in negatives
        expected = set(listed[int(rows.query_R[row])].tolist()) - set(met_RH[row].tolist()) - {positive}
        assert expected <= set(negatives)
        assert set(negatives) - expected <= set(rows.candidate_RC[row, 1:].tolist())
    again = with_same_query_negatives(rows, small_store, fitting)
    assert np.array_equal(again.candidate_RC, hard.candidate_RC)
