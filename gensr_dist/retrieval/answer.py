"""Answers of a trained run: what next for a user or a history, and what for a query that is typed.

Dimensions: G groups (one), T query tokens and one more, K answers, L history, I items, M answers.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from gensr_dist.config.root import Config
from gensr_dist.data.tokenizer import token_table
from gensr_dist.errors import InputError
from gensr_dist.retrieval.item_lists import GivenHistory, GivenItems
from gensr_dist.retrieval.ranker import Ranked
from gensr_dist.retrieval.request_scorer import RequestScorer
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import open_ranker
from gensr_dist.runs.trained_run import TrainedRun

SHOWN = 3  # interactions of an explanation


@dataclass(frozen=True, kw_only=True)
class Attended:
    """An interaction of the history and its shares in what the candidate is told of it."""

    item_id: str
    text: str
    cf: float  # by the soft filter of the CF view
    semantic: float  # by that of the texts


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an item is among the answers."""

    channels: Mapping[str, int]  # its rank in each channel that proposed it; none: it fills up by popularity
    attended: tuple[Attended, ...]  # the SHOWN interactions with the largest shares; none where a baseline scores


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One item of an answer."""

    rank: int  # from 1
    item_id: str
    text: str
    score: float  # P(Yes) / (P(Yes) + P(No)), the order of answers knows the channels too; or a baseline's logit
    reason: Reason | None = None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Items, best first, and what the reader should know about them."""

    items: tuple[Answer, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What may be answered."""

    only: GivenItems | None = None
    exclude: GivenItems | None = None

    def allowed(self, items: int) -> NDArray[np.bool_] | None:
        """True for what may be answered [I]; None: everything."""
        if self.only is None and self.exclude is None:
            return None
        allowed_I = np.full(items, self.only is None)
        if self.only is not None:
            allowed_I[self.only.item_M] = True
        if self.exclude is not None:
            allowed_I[self.exclude.item_M] = False
        return allowed_I

    @property
    def notes(self) -> tuple[str, ...]:
        """Counts of ids that no item has."""
        return tuple(
            f"{given.unknown:,} of the ids {what} are not in the catalogue"
            for given, what in ((self.only, "to choose from"), (self.exclude, "to leave out"))
            if given is not None and given.unknown
        )


class Answerer:
    """Everything that answering needs, opened once for many users.

    Args:
        trained: the run.
        config: number of candidates, whether seen items are left out, and how many are scored in one pass.
        scorer: name of the trained baseline that orders candidates; None: GenSR does.

    Raises:
        InputError: the run's index is missing or broken, or the baseline cannot score.
    """

    def __init__(self, trained: TrainedRun, config: Config, scorer: str | None = None) -> None:
        self.store, self.items, self.notes = trained.store, trained.items, trained.notes
        if scorer is not None:
            self.notes += (f"scores are the logits of {scorer}, which alone order the candidates",)
        self.ranker = open_ranker(trained, config, scorer)
        self.gensr = self.ranker.scorer if isinstance(self.ranker.scorer, RequestScorer) else None
        self.catalogue = self.ranker.generator.items  # with those that came after training
        self.candidates = config.retrieval.candidates
        self.query_tokens = trained.store.manifest.config.query_tokens

    def recommend(
        self, who: str | GivenHistory, k: int, *, choice: Choice = Choice(), explain: bool = False
    ) -> Answers:
        """The k best items for someone who opens the application now.

        Args:
            who: raw id of a prepared user, or a history.
            k: wanted.
            choice: what may be answered.
            explain: give reasons.

        Raises:
            InputError: no such user was prepared, or the model gives NaN or does not serve the task.
        """
        requests, notes = self._requests(who, choice)
        return self._ranked(requests, k, notes, explain)

    def search(
        self, who: str | GivenHistory, query: str, k: int, *, choice: Choice = Choice(), explain: bool = False
    ) -> Answers:
        """The k best items for someone who types `query` now; the other arguments are those of `recommend`.

        A query whose words occur neither in an item text nor in a query of the log is answered by recommendations, and
        a note says so.

        Raises:
            InputError: as `recommend`, or the query is empty.
        """
        if not query.strip():
            raise InputError("query", "it is empty", "give at least one word")
        requests, notes = self._requests(who, choice)
        words = _words_of(pl.Series([query])).to_list()
        unknown = [word for word in words if word not in self._words]
        # One token more than the model reads, to see whether the query is cut.
        token_GT = token_table(self.items.tokenizer, [query], self.query_tokens + 1).astype(np.int64)
        if token_GT[0, -1]:
            notes += (f"the query is too long: only its first {self.query_tokens} tokens count (data.query_tokens)",)
        if len(unknown) == len(words):
            notes += ("no word of the query occurs in the catalogue or the log: these are recommendations",)
            return self._ranked(requests, k, notes, explain)
        if unknown:
            notes += (f"unknown words: {', '.join(unknown)}",)
        asked = dataclasses.replace(requests, texts=(query,), token_GQ=token_GT[:, : self.query_tokens])
        return self._ranked(asked, k, notes, explain)

    def scored(self, k: int) -> int:
        """Candidates that are scored for k answers."""
        return min(max(k, self.candidates), self.catalogue)

    def shown(self, log_odds_M: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores for people: P(Yes) of GenSR's log-odds; a baseline's logits as they are."""
        wide_M = torch.from_numpy(log_odds_M).double()
        return (wide_M if self.gensr is None else wide_M.sigmoid()).numpy()

    def knows_a_word(self, query: str) -> bool:
        """Whether some word of a query occurs in an item text or in a query of the log."""
        return any(word in self._words for word in _words_of(pl.Series([query])).to_list())

    @cached_property
    def _words(self) -> frozenset[str]:
        """Words of item texts and queries, as `_words_of` gives them."""
        return frozenset(_words_of(pl.concat([self.items.texts.rename("text"), self.items.queries.rename("text")])))

    def _requests(self, who: str | GivenHistory, choice: Choice) -> tuple[Requests, tuple[str, ...]]:
        allowed_I, notes = choice.allowed(self.catalogue), (*self.notes, *choice.notes)
        if isinstance(who, str):
            user_G = np.array([self.items.user_row(who)], dtype=np.int64)
            end_G = self.store.history_span(user_G)[1]
            requests = Requests.of_moments(self.store, user_G, end_G, allowed_I=allowed_I)
        else:
            requests = Requests(
                start_G=np.array([0, len(who.item_M)]),
                item_M=who.item_M,
                behaviour_M=who.behaviour_M,
                allowed_I=allowed_I,
            )
            if who.unknown:
                notes += (f"{who.unknown:,} interactions of the history are with items that are not in the catalogue",)
        if not len(requests.item_M):
            notes += ("there is no history: candidates start from popularity",)
        return requests, notes

    def _ranked(self, requests: Requests, k: int, notes: tuple[str, ...], explain: bool) -> Answers:
        ranked = self.ranker.rank(requests, self.scored(k))
        place_K = ranked.order_GK[0, :k]
        place_K = place_K[ranked.candidates.item_GK[0, place_K] >= 0]
        if not len(place_K):
            if requests.allowed_I is not None and not requests.allowed_I.any():
                nothing = "no item is allowed"
            else:
                nothing = "the user already met every item" + (
                    " that is allowed" if requests.allowed_I is not None else ""
                )
            return Answers(items=(), notes=(*notes, f"{nothing}, so there is nothing to answer"))
        if len(place_K) < k:  # candidate generation gives fewer only where there are no more
            left = (
                "are left that the user has not met" if self.ranker.generator.exclude_seen else "are in the catalogue"
            )
            if requests.allowed_I is not None:
                left += " and that are allowed"
            notes += (f"{k:,} items were asked for, but only {len(place_K):,} {left}",)
        row_K = ranked.candidates.item_GK[0, place_K].tolist()
        score_K = self.shown(ranked.log_odds_GK[0, place_K]).tolist()
        reasons = self._reasons(requests, ranked, place_K) if explain else [None] * len(row_K)
        return Answers(
            items=tuple(
                Answer(rank=rank, item_id=self.items.item_ids[row], text=self.items.texts[row], score=score, reason=why)
                for rank, (row, score, why) in enumerate(zip(row_K, score_K, reasons, strict=True), 1)
            ),
            notes=notes,
        )

    def _reasons(self, requests: Requests, ranked: Ranked, place_K: NDArray[np.int64]) -> list[Reason]:
        found = ranked.candidates
        rank = {name: found.rank(name)[0, place_K].tolist() for name in found.proposals}
        if self.gensr is None:
            shares = (np.empty((1, len(place_K), 0), dtype=np.float32),) * 2
        else:
            shares = self.gensr.attended(requests, found.item_GK[:, place_K])
        cf_KL, semantic_KL = (share_GKL[0] for share_GKL in shares)
        history_L = requests.newest(cf_KL.shape[1])[0][0]
        length = int((history_L >= 0).sum())
        reasons = []
        for answer in range(len(place_K)):
            most_L = np.argsort(-(cf_KL + semantic_KL)[answer, :length], kind="stable")[:SHOWN].tolist()
            attended = tuple(
                Attended(
                    item_id=self.items.item_ids[int(history_L[place])],
                    text=self.items.texts[int(history_L[place])],
                    cf=float(cf_KL[answer, place]),
                    semantic=float(semantic_KL[answer, place]),
                )
                for place in most_L
            )
            channels = {name: rank_K[answer] for name, rank_K in rank.items() if rank_K[answer]}
            reasons.append(Reason(channels=channels, attended=attended))
        return reasons


def _words_of(texts: pl.Series) -> pl.Series:
    """Distinct words in lower case, without punctuation, in the order of their first occurrence."""
    words = texts.str.to_lowercase().str.extract_all(r"\w+")
    return words.explode().drop_nulls().unique(maintain_order=True)
