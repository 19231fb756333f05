"""Answers of a run: what comes back, in which order, and what bad requests get."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gensr_dist.config.root import Config, load_config
from gensr_dist.errors import InputError
from gensr_dist.retrieval.answer import SHOWN, Answerer, Choice, _words_of
from gensr_dist.retrieval.item_lists import GivenHistory, GivenItems
from gensr_dist.retrieval.requests import Requests
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun


@pytest.fixture(scope="module")
def answerer(run: RunFolder, trained: TrainedRun) -> Answerer:
    return Answerer(trained, load_config(run.config))


def history_of(answerer: Answerer, user_id: str) -> set[str]:
    user_G = np.array([answerer.items.user_row(user_id)])
    requests = Requests.of_moments(answerer.store, user_G, answerer.store.history_span(user_G)[1])
    return {answerer.items.item_ids[item] for item in requests.item_M.tolist()}


def asked(answerer: Answerer, user_id: str, query: str | None) -> Requests:
    user_G = np.array([answerer.items.user_row(user_id)])
    token_GQ = None if query is None else np.array(answerer.items.query_QT[[answerer.items.queries.index_of(query)]])
    texts = None if query is None else [query]
    end_G = answerer.store.history_span(user_G)[1]
    return Requests.of_moments(answerer.store, user_G, end_G, texts=texts, token_GQ=token_GQ)


@pytest.mark.parametrize("query", [None, "red w3"])
def test_answers_are_ranked_distinct_unseen_items(answerer: Answerer, query: str | None) -> None:
    answers = answerer.recommend("u3", 10) if query is None else answerer.search("u3", query, 10)
    ids = [answer.item_id for answer in answers.items]
    assert len(set(ids)) == 10
    assert not set(ids) & history_of(answerer, "u3")
    assert [answer.rank for answer in answers.items] == list(range(1, 11))
    assert all(0 < answer.score < 1 for answer in answers.items)
    for answer in answers.items:
        assert answer.text == answerer.items.texts[answerer.items.item_ids.index_of(answer.item_id)]
        assert answer.reason is None
    assert answers.notes == ()


@pytest.mark.parametrize("query", [None, "red w3", "blue w5"])
@pytest.mark.parametrize("user", ["u0", "u5", "u9"])
def test_answers_come_in_the_final_order_with_the_scores_of_the_model(
    answerer: Answerer, user: str, query: str | None
) -> None:
    answers = answerer.recommend(user, 7) if query is None else answerer.search(user, query, 7)
    requests = asked(answerer, user, query)
    ranked = answerer.ranker.rank(requests, answerer.candidates)
    best = sorted(range(answerer.candidates), key=lambda place: -ranked.score_GK[0, place])[:7]
    row_K = ranked.candidates.item_GK[0, best]
    assert [answer.item_id for answer in answers.items] == [answerer.items.item_ids[int(row)] for row in row_K]
    assert answerer.gensr is not None
    collator, token_1Q = answerer.gensr.collator, np.zeros((1, 4), dtype=np.int64)
    if requests.token_GQ is not None:
        token_1Q = requests.token_GQ.astype(np.int64)
    batch = collator.query(
        *requests.newest(collator.history),
        np.array([int(requests.task)]),
        token_1Q,
        row_K[None],
        texts=requests.texts or (),
    )
    with torch.inference_mode():
        expected_K = answerer.gensr.model.score(batch)[0].cpu().numpy()
    np.testing.assert_allclose([answer.score for answer in answers.items], expected_K, atol=1e-5)


def test_repeated_requests_agree_also_after_opening_again(run: RunFolder, answerer: Answerer) -> None:
    config = load_config(run.config)
    again = Answerer(TrainedRun.open(run, config), config)
    assert answerer.recommend("u1", 5) == answerer.recommend("u1", 5) == again.recommend("u1", 5)
    assert answerer.search("u1", "green", 5) == again.search("u1", "green", 5)


def test_more_answers_than_candidates_and_than_items(answerer: Answerer) -> None:
    unseen = len(answerer.items.item_ids) - len(history_of(answerer, "u2"))
    assert len(answerer.recommend("u2", 40).items) == 40
    for k in (unseen, unseen + 1, 1_000):
        notes: tuple[str, ...] = ()
        if k > unseen:
            notes = (f"{k:,} items were asked for, but only {unseen} are left that the user has not met",)
        for answers in (answerer.recommend("u2", k), answerer.search("u2", "red", k)):
            assert len(answers.items) == unseen
            assert answers.notes == notes


def test_more_answers_than_items_where_seen_ones_count(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answerer.ranker.generator, "exclude_seen", False)
    answers = answerer.recommend("u2", 90)
    assert len(answers.items) == len(answerer.items.item_ids) == 80
    assert answers.notes == ("90 items were asked for, but only 80 are in the catalogue",)


def test_many_candidates_take_several_passes(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answerer.recommend("u2", 40)
    monkeypatch.setattr(answerer.ranker.scorer, "prompts", 7)
    parts = answerer.recommend("u2", 40)
    assert [answer.item_id for answer in parts.items] == [answer.item_id for answer in whole.items]
    np.testing.assert_allclose([a.score for a in parts.items], [a.score for a in whole.items], atol=1e-5)


def test_unknown_words_are_noted(answerer: Answerer) -> None:
    assert answerer.search("u4", "red zz", 3).notes == ("unknown words: zz",)
    answers = answerer.search("u4", "zzz", 3)
    assert answers.notes == ("no word of the query occurs in the catalogue or the log: these are recommendations",)
    assert answers.items == answerer.recommend("u4", 3).items
    assert answerer.search("u4", "thing", 3).notes == ()  # known from the log's queries
    assert answerer.search("u4", "RED W3", 3) == answerer.search("u4", "red w3", 3)


def test_words_are_known_whatever_punctuation_touches_them(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answerer.search("u4", "Red, W3!", 3).notes == ()
    assert answerer.search("u4", "red?", 3).notes == ()
    assert "unknown words: zzz, yyy" in answerer.search("u4", "red; zzz, Zzz? (yyy)", 3).notes
    assert "no word of the query occurs" in answerer.search("u4", "?!", 3).notes[0]
    monkeypatch.setattr(answerer, "_words", frozenset(_words_of(pl.Series(["Baking: 12 Guides (illustrated)", None]))))
    assert answerer._words == {"baking", "12", "guides", "illustrated"}
    assert "no word of the query occurs" not in " ".join(answerer.search("u4", "Guides, Baking!", 3).notes)


def test_words_are_cut_alike_in_every_script() -> None:
    words = ["हिन्दी", "čeština", "e\u0301te\u0301", "русский", "don", "t"]
    assert _words_of(pl.Series(["«हिन्दी», Čeština e\u0301te\u0301: РУССКИЙ русский don't"])).to_list() == words


def test_a_query_that_is_cut_is_noted(answerer: Answerer) -> None:
    whole = answerer.search("u4", "red red red red", 3)  # query_tokens is 4
    assert whole.notes == ()
    cut = answerer.search("u4", "red red red red red", 3)
    assert cut.notes == ("the query is too long: only its first 4 tokens count (data.query_tokens)",)
    assert cut.items == whole.items


def test_scores_that_are_not_numbers_are_one_line_input_errors(run: RunFolder) -> None:
    config = load_config(run.config)
    trained = TrainedRun.open(run, config)
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.fill_(torch.nan)
    answerer = Answerer(trained, config)
    for ask in (lambda: answerer.recommend("u1", 3), lambda: answerer.search("u1", "red", 3)):
        with pytest.raises(InputError, match="scores that are not a number; train again") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_bad_requests_are_one_line_input_errors(answerer: Answerer) -> None:
    with pytest.raises(InputError, match="user 'nobody': no such user"):
        answerer.recommend("nobody", 3)
    with pytest.raises(InputError, match="user 'nobody': no such user"):
        answerer.search("nobody", "red", 3)
    for query in ("", "  \t\n"):
        with pytest.raises(InputError, match="query: it is empty"):
            answerer.search("u1", query, 3)


NOBODY = GivenHistory(item_M=np.empty(0, dtype=np.int64), behaviour_M=np.empty(0, dtype=np.int64), unknown=0)


def test_someone_without_history_is_answered_from_popularity(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answerer.ranker.generator, "fusion", {})
    answers = answerer.recommend(NOBODY, 25)
    popular = {answerer.items.item_ids[int(row)] for row in answerer.ranker.generator.channels.popular.popular_I[:25]}
    assert {answer.item_id for answer in answers.items} == popular
    assert answers.notes == ("there is no history: candidates start from popularity",)


def test_only_allowed_items_are_answered(answerer: Answerer) -> None:
    only = GivenItems(item_M=np.arange(0, 80, 2), unknown=0)
    exclude = GivenItems(item_M=np.array([0, 4, 6]), unknown=2)
    allowed = {answerer.items.item_ids[item] for item in range(0, 80, 2)} - {"i0", "i4", "i6"}
    left = allowed - history_of(answerer, "u2")
    for ask in (
        lambda k: answerer.recommend("u2", k, choice=Choice(only=only, exclude=exclude)),
        lambda k: answerer.search("u2", "red", k, choice=Choice(only=only, exclude=exclude)),
    ):
        assert {answer.item_id for answer in ask(5).items} <= left
        every = ask(60)
        assert {answer.item_id for answer in every.items} == left
        assert "2 of the ids to leave out are not in the catalogue" in every.notes
        assert every.notes[-1].startswith(
            f"60 items were asked for, but only {len(left)} are left that the user has not"
        )
    nothing = GivenItems(item_M=np.empty(0, dtype=np.int64), unknown=0)
    answers = answerer.recommend("u2", 3, choice=Choice(only=nothing))
    assert answers.items == ()
    assert answers.notes[-1].startswith("no item is allowed")


def test_reasons_are_the_ranks_in_the_channels_and_the_attended_history(answerer: Answerer) -> None:
    answers = answerer.search("u5", "blue w5", 6, explain=True)
    plain = answerer.search("u5", "blue w5", 6)
    assert [dataclasses.replace(answer, reason=None) for answer in answers.items] == list(plain.items)
    found = answerer.ranker.generator.candidates(asked(answerer, "u5", "blue w5"), answerer.candidates)
    for answer in answers.items:
        assert answer.reason is not None
        row = answerer.items.item_ids.index_of(answer.item_id)
        expected = {
            name: 1 + item_GD[0].tolist().index(row) for name, item_GD in found.proposals.items() if row in item_GD[0]
        }
        assert dict(answer.reason.channels) == expected
        assert len(answer.reason.attended) == SHOWN
        assert {attended.item_id for attended in answer.reason.attended} <= history_of(answerer, "u5")


def test_an_unfinished_run_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        TrainedRun.open(RunFolder(tmp_path), Config())
