"""Answers of a run: what comes back, in which order, and what bad requests get."""

import numpy as np
import pytest
import torch

from gensr_dist.config import Config, load_config
from gensr_dist.errors import InputError
from gensr_dist.retrieval.answer import Answerer
from gensr_dist.run_folder import RunFolder
from gensr_dist.trained_run import TrainedRun


@pytest.fixture(scope="module")
def answerer(run):
    config = load_config(run.config)
    return Answerer(TrainedRun.open(run, config), config.retrieval)


def history_of(answerer, user_id):
    histories = answerer.collator.store.window(0).histories
    user = answerer.items.user_row(user_id)
    rows = histories.item_M[histories.user_start_V[user] : histories.end_of_user_V[user]]
    return {answerer.items.item_ids[int(row)] for row in rows}


@pytest.mark.parametrize("query", [None, "red w3"])
def test_answers_are_ranked_distinct_unseen_items(answerer, query):
    answers = answerer.recommend("u3", 10) if query is None else answerer.search("u3", query, 10)
    ids = [answer.item_id for answer in answers.items]
    assert len(set(ids)) == 10
    assert not set(ids) & history_of(answerer, "u3")
    assert [answer.rank for answer in answers.items] == list(range(1, 11))
    scores = [answer.score for answer in answers.items]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    for answer in answers.items:
        assert answer.text == answerer.items.texts[answerer.items.item_row(answer.item_id)]
    assert answers.notes == ()


def test_scores_are_those_of_the_model_for_the_whole_history(answerer):
    store, items = answerer.collator.store, answerer.items
    user_G = np.array([items.user_row("u5")])
    answers = answerer.search("u5", "blue w5", 4)
    rows = np.array([[items.item_row(answer.item_id) for answer in answers.items]])
    query_GQ = np.array(items.query_QT[[items.queries.index_of("blue w5")]]).astype(np.int64)
    batch = answerer.collator.query(user_G, store.history_span(user_G)[1], np.array([1]), query_GQ, rows)
    with torch.inference_mode():
        expected = answerer.trained.model.score(batch)[0].numpy()
    np.testing.assert_allclose([answer.score for answer in answers.items], expected, atol=1e-5)


def test_repeated_requests_agree_also_after_opening_again(run, answerer):
    config = load_config(run.config)
    again = Answerer(TrainedRun.open(run, config), config.retrieval)
    assert answerer.recommend("u1", 5) == answerer.recommend("u1", 5) == again.recommend("u1", 5)
    assert answerer.search("u1", "green", 5) == again.search("u1", "green", 5)


def test_more_answers_than_candidates_and_than_items(answerer):
    unseen = len(answerer.items.item_ids) - len(history_of(answerer, "u2"))
    assert len(answerer.recommend("u2", 40).items) == 40
    assert len(answerer.recommend("u2", 10_000).items) == unseen


def test_unknown_words_are_noted(answerer):
    assert answerer.search("u4", "red zzz", 3).notes == ("unknown words: zzz",)
    answers = answerer.search("u4", "zzz", 3)
    assert "no word of the query occurs" in answers.notes[0]
    assert len(answers.items) == 3
    assert answerer.search("u4", "thing", 3).notes == ()  # known from the log's queries
    assert answerer.search("u4", "RED W3", 3) == answerer.search("u4", "red w3", 3)


def test_bad_requests_are_one_line_input_errors(answerer):
    with pytest.raises(InputError, match="user 'nobody': no such user"):
        answerer.recommend("nobody", 3)
    with pytest.raises(InputError, match="user 'nobody': no such user"):
        answerer.search("nobody", "red", 3)
    for query in ("", "  \t\n"):
        with pytest.raises(InputError, match="query: it is empty"):
            answerer.search("u1", query, 3)


def test_a_user_without_history_is_answered_from_popularity(answerer, monkeypatch):
    user_G = np.array([answerer.items.user_row("u6")])
    start_G = answerer.collator.store.history_span(user_G)[0]
    monkeypatch.setattr(answerer, "_user", lambda _: (user_G, start_G))
    monkeypatch.setattr(answerer.prefilter, "user_VE", np.zeros_like(answerer.prefilter.user_VE))
    answers = answerer.recommend("u6", 25)
    popular = {answerer.items.item_ids[int(row)] for row in answerer.prefilter.popular_I[:25]}
    assert {answer.item_id for answer in answers.items} == popular
    assert "has no history" in answers.notes[0]


def test_an_unfinished_run_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json"):
        TrainedRun.open(RunFolder(tmp_path), Config())
