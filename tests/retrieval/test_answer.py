"""Answers of a run: what comes back, in which order, and what bad requests get."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

from gensr_dist import pipeline
from gensr_dist.config import Config, load_config
from gensr_dist.errors import InputError
from gensr_dist.retrieval.answer import Answer, Answerer, Answers, _words_of
from gensr_dist.run_folder import RunFolder
from gensr_dist.trained_run import TrainedRun


@pytest.fixture(scope="module")
def answerer(run):
    config = load_config(run.config)
    return Answerer(TrainedRun.open(run, config), config)


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
    again = Answerer(TrainedRun.open(run, config), config)
    assert answerer.recommend("u1", 5) == answerer.recommend("u1", 5) == again.recommend("u1", 5)
    assert answerer.search("u1", "green", 5) == again.search("u1", "green", 5)


def test_more_answers_than_candidates_and_than_items(answerer):
    unseen = len(answerer.items.item_ids) - len(history_of(answerer, "u2"))
    assert len(answerer.recommend("u2", 40).items) == 40
    for k in (unseen, unseen + 1, 10_000):
        notes = ()
        if k > unseen:
            notes = (f"{k:,} items were asked for, but only {unseen} are left that the user has not met",)
        for answers in (answerer.recommend("u2", k), answerer.search("u2", "red", k)):
            assert len(answers.items) == unseen
            assert answers.notes == notes


def test_more_answers_than_items_where_seen_ones_count(answerer, monkeypatch):
    monkeypatch.setattr(answerer.prefilter, "exclude_seen", False)
    answers = answerer.recommend("u2", 90)
    assert len(answers.items) == len(answerer.items.item_ids) == 80
    assert answers.notes == ("90 items were asked for, but only 80 are in the catalogue",)


def test_many_candidates_take_several_passes(answerer, monkeypatch):
    whole = answerer.recommend("u2", 40)
    monkeypatch.setattr(answerer, "prompts", 7)
    parts = answerer.recommend("u2", 40)
    assert [answer.item_id for answer in parts.items] == [answer.item_id for answer in whole.items]
    np.testing.assert_allclose([a.score for a in parts.items], [a.score for a in whole.items], atol=1e-5)


def test_unknown_words_are_noted(answerer):
    assert answerer.search("u4", "red zz", 3).notes == ("unknown words: zz",)
    answers = answerer.search("u4", "zzz", 3)
    assert "no word of the query occurs" in answers.notes[0]
    assert len(answers.items) == 3
    assert answerer.search("u4", "thing", 3).notes == ()  # known from the log's queries
    assert answerer.search("u4", "RED W3", 3) == answerer.search("u4", "red w3", 3)


def test_words_are_known_whatever_punctuation_touches_them(answerer, monkeypatch):
    assert answerer.search("u4", "Red, W3!", 3).notes == ()
    assert answerer.search("u4", "red?", 3).notes == ()
    assert "unknown words: zzz, yyy" in answerer.search("u4", "red; zzz, Zzz? (yyy)", 3).notes
    assert "no word of the query occurs" in answerer.search("u4", "?!", 3).notes[0]
    monkeypatch.setattr(answerer, "_words", frozenset(_words_of(pl.Series(["Baking: 12 Guides (illustrated)", None]))))
    assert answerer._words == {"baking", "12", "guides", "illustrated"}
    assert "no word of the query occurs" not in " ".join(answerer.search("u4", "Guides, Baking!", 3).notes)


def test_words_are_cut_alike_in_every_script():
    words = ["हिन्दी", "čeština", "e\u0301te\u0301", "русский", "don", "t"]
    assert _words_of(pl.Series(["«हिन्दी», Čeština e\u0301te\u0301: РУССКИЙ русский don't"])).to_list() == words


def test_a_query_that_is_cut_is_noted(answerer):
    whole = answerer.search("u4", "red red red red", 3)  # query_tokens is 4
    assert whole.notes == ()
    cut = answerer.search("u4", "red red red red red", 3)
    assert cut.notes == ("the query is too long: only its first 4 tokens count (data.query_tokens)",)
    assert cut.items == whole.items


def test_scores_that_are_not_numbers_are_one_line_input_errors(run):
    config = load_config(run.config)
    trained = TrainedRun.open(run, config)
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.fill_(torch.nan)
    answerer = Answerer(trained, config)
    for ask in (lambda: answerer.recommend("u1", 3), lambda: answerer.search("u1", "red", 3)):
        with pytest.raises(InputError, match="scores that are not a number; train again") as caught:
            ask()
        assert str(caught.value).startswith(f"{run.model}: ")


def test_no_control_character_of_a_log_reaches_the_terminal(run, monkeypatch):
    item = Answer(rank=1, item_id="i\x1b[2J", text="red\x1b]0;owned\x07\nnote: forged\u202e", score=0.5)
    answers = Answers(items=(item,), notes=("unknown words: \x1b[31m",))
    monkeypatch.setattr(Answerer, "search", lambda *_: answers)
    monkeypatch.setattr(pipeline, "check_consistent", lambda *_: None)
    said = []
    result = pipeline.answer(run, "u1", "red\x1b[31m", 1, said.append)
    pipeline._say_items("searches 'a\x1b[2Jb'", ["red\r\n\x9b31m"], said.append)
    assert len(said) == 5
    assert all(line.isprintable() for line in said)
    assert said[2].endswith("red ]0;owned  note: forged ")
    assert said[3:] == ["  searches 'a [2Jb':", "    - red   31m"]
    assert result.query == "red\x1b[31m"  # what `--json` prints is what was asked and found
    assert dataclasses.asdict(result.answers)["items"][0]["text"] == item.text


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
    lightgcn = answerer.prefilter.recommending["lightgcn"]
    monkeypatch.setattr(lightgcn, "user_VE", np.zeros_like(lightgcn.user_VE))
    answers = answerer.recommend("u6", 25)
    popular = {answerer.items.item_ids[int(row)] for row in answerer.prefilter.popular.popular_I[:25]}
    assert {answer.item_id for answer in answers.items} == popular
    assert "has no history" in answers.notes[0]


def test_an_unfinished_run_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json"):
        TrainedRun.open(RunFolder(tmp_path), Config())
