"""Answers of a trained run: what next for this user, and what for this user's query.

Dimensions: G groups, T query tokens and one more, K candidates.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from scipy.special import expit

from gensr_dist.config import Config
from gensr_dist.data.tokenizer import token_table
from gensr_dist.errors import InputError
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import open_ranker
from gensr_dist.trained_run import TrainedRun


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One item of an answer."""

    rank: int  # from 1
    item_id: str
    text: str
    score: float  # P(Yes) / (P(Yes) + P(No)); the order of answers knows the channels too


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Items, best first, and what the reader should know about them."""

    items: tuple[Answer, ...]
    notes: tuple[str, ...]


class Answerer:
    """Everything that answering needs, opened once for many users.

    Args:
        trained: the run.
        config: number of candidates, whether seen items are left out, and how many are scored in one pass.

    Raises:
        InputError: the run's index is missing or broken.
    """

    def __init__(self, trained: TrainedRun, config: Config) -> None:
        self.store, self.items = trained.store, trained.items
        self.ranker = open_ranker(trained, config)
        self.candidates = config.retrieval.candidates
        self.query_tokens = trained.store.manifest.config.query_tokens

    def recommend(self, user_id: str, k: int) -> Answers:
        """The k best items for a user who opens the application now.

        Raises:
            InputError: no such user was prepared, or the model gives NaN.
        """
        requests = self._of_user(user_id)
        return self._ranked(requests, k, _history_notes(requests, f"user {user_id!r}"))

    def search(self, user_id: str, query: str, k: int) -> Answers:
        """The k best items for a user who types `query` now.

        A query whose words occur neither in an item text nor in a query of the log is answered by recommendations, and
        a note says so.

        Raises:
            InputError: no such user was prepared, the query is empty, or the model gives NaN.
        """
        if not query.strip():
            raise InputError("query", "it is empty", "give at least one word")
        requests = self._of_user(user_id)
        notes = _history_notes(requests, f"user {user_id!r}")
        words = _words_of(pl.Series([query])).to_list()
        unknown = [word for word in words if word not in self._words]
        # One token more than the model reads, to see whether the query is cut.
        token_GT = token_table(self.items.tokenizer(), [query], self.query_tokens + 1).astype(np.int64)
        if token_GT[0, -1]:
            notes += (f"the query is too long: only its first {self.query_tokens} tokens count (data.query_tokens)",)
        if len(unknown) == len(words):
            notes += ("no word of the query occurs in the catalogue or the log: these are recommendations",)
            return self._ranked(requests, k, notes)
        if unknown:
            notes += (f"unknown words: {', '.join(unknown)}",)
        asked = dataclasses.replace(requests, texts=(query,), token_GQ=token_GT[:, : self.query_tokens])
        return self._ranked(asked, k, notes)

    @cached_property
    def _words(self) -> frozenset[str]:
        """Words of item texts and queries, as `_words_of` gives them."""
        return frozenset(_words_of(pl.concat([self.items.texts.rename("text"), self.items.queries.rename("text")])))

    def _of_user(self, user_id: str) -> Requests:
        user_G = np.array([self.items.user_row(user_id)], dtype=np.int64)
        return Requests.of_moments(self.store, user_G, self.store.history_span(user_G)[1])

    def _ranked(self, requests: Requests, k: int, notes: tuple[str, ...]) -> Answers:
        ranked = self.ranker.rank(requests, max(k, self.candidates))
        best_K = ranked.order_GK[0, :k]
        row_K, odds_K = ranked.candidates.item_GK[0, best_K], ranked.odds_GK[0, best_K].astype(np.float64)
        row_K = row_K[row_K >= 0]
        if not len(row_K):
            return Answers(items=(), notes=(*notes, "the user already met every item"))
        if len(row_K) < k:  # candidate generation gives fewer only where there are no more
            unseen = self.ranker.generator.exclude_seen
            left = "are left that the user has not met" if unseen else "are in the catalogue"
            notes += (f"{k:,} items were asked for, but only {len(row_K):,} {left}",)
        answers = (
            Answer(rank=rank, item_id=self.items.item_ids[row], text=self.items.texts[row], score=score)
            for rank, (row, score) in enumerate(zip(row_K.tolist(), expit(odds_K).tolist(), strict=False), 1)
        )
        return Answers(items=tuple(answers), notes=notes)


def _history_notes(requests: Requests, who: str) -> tuple[str, ...]:
    return () if len(requests.item_M) else (f"{who} has no history: candidates start from popularity",)


def _words_of(texts: pl.Series) -> pl.Series:
    """Distinct words in lower case, without punctuation, in the order of their first occurrence."""
    words = texts.str.to_lowercase().str.extract_all(r"\w+")
    return words.explode().drop_nulls().unique(maintain_order=True)
