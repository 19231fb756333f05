"""Answers of a trained run: what next for this user, and what for this user's query.

Dimensions: G groups, K candidates, Q query tokens.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from gensr_dist.config import Config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import token_table
from gensr_dist.errors import InputError
from gensr_dist.retrieval.prefilter import Prefilter
from gensr_dist.trained_run import TrainedRun


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One item of an answer."""

    rank: int  # from 1
    item_id: str
    text: str
    score: float  # P(Yes) / (P(Yes) + P(No))


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
        self.trained, self.items, self.collator = trained, trained.items, trained.collator
        self.prefilter = Prefilter.of(trained, exclude_seen=config.retrieval.exclude_seen)
        self.candidates, self.prompts = config.retrieval.candidates, config.evaluation.prompts
        self.query_tokens = trained.store.manifest.config.query_tokens

    def recommend(self, user_id: str, k: int) -> Answers:
        """The k best items for a user who opens the application now.

        Raises:
            InputError: no such user was prepared, or the model gives NaN.
        """
        user_G, end_G = self._user(user_id)
        candidate_GK = self.prefilter.recommendations(user_G, end_G, max(k, self.candidates))
        query_GQ = np.zeros((1, self.query_tokens), dtype=np.int64)
        notes = self._history_notes(user_id, user_G, end_G)
        return self._ranked(user_G, end_G, Behaviour.RECOMMENDATION, query_GQ, candidate_GK, k, notes)

    def search(self, user_id: str, query: str, k: int) -> Answers:
        """The k best items for a user who types `query` now.

        A query whose words occur neither in an item text nor in a query of the log is answered from the user's taste,
        and a note says so.

        Raises:
            InputError: no such user was prepared, the query is empty, or the model gives NaN.
        """
        if not query.strip():
            raise InputError("query", "it is empty", "give at least one word")
        user_G, end_G = self._user(user_id)
        words = _words_of(pl.Series([query])).to_list()
        unknown = [word for word in words if word not in self._words]
        # One token more than the model reads, to see whether the query is cut.
        token_GT = token_table(self.items.tokenizer(), [query], self.query_tokens + 1).astype(np.int64)
        query_GQ = token_GT[:, : self.query_tokens]
        notes = self._history_notes(user_id, user_G, end_G)
        if token_GT[0, -1]:
            notes += (f"the query is too long: only its first {self.query_tokens} tokens count (data.query_tokens)",)
        if len(unknown) == len(words):
            notes += ("no word of the query occurs in the catalogue or the log: candidates come from the user's taste",)
            candidate_GK = self.prefilter.recommendations(user_G, end_G, max(k, self.candidates))
        else:
            if unknown:
                notes += (f"unknown words: {', '.join(unknown)}",)
            candidate_GK = self.prefilter.search(user_G, end_G, query_GQ, [query], max(k, self.candidates))
        return self._ranked(user_G, end_G, Behaviour.SEARCH, query_GQ, candidate_GK, k, notes)

    @cached_property
    def _words(self) -> frozenset[str]:
        """Words of item texts and queries, as `_words_of` gives them."""
        return frozenset(_words_of(pl.concat([self.items.texts.rename("text"), self.items.queries.rename("text")])))

    def _user(self, user_id: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        user_G = np.array([self.items.user_row(user_id)], dtype=np.int64)
        return user_G, self.collator.store.history_span(user_G)[1]

    def _history_notes(self, user_id: str, user_G: NDArray[np.int64], end_G: NDArray[np.int64]) -> tuple[str, ...]:
        if end_G[0] > self.collator.store.history_span(user_G)[0][0]:
            return ()
        return (f"user {user_id!r} has no history: candidates start from popularity",)

    def _ranked(
        self,
        user_G: NDArray[np.int64],
        end_G: NDArray[np.int64],
        task: Behaviour,
        query_GQ: NDArray[np.int64],
        candidate_GK: NDArray[np.int64],
        k: int,
        notes: tuple[str, ...],
    ) -> Answers:
        row_K = candidate_GK[0][candidate_GK[0] >= 0]
        if not len(row_K):
            return Answers(items=(), notes=(*notes, "the user already met every item"))
        if len(row_K) < k:  # the prefilter gives fewer only where there are no more
            left = "are left that the user has not met" if self.prefilter.exclude_seen else "are in the catalogue"
            notes += (f"{k:,} items were asked for, but only {len(row_K):,} {left}",)
        task_G = np.array([task], dtype=np.int64)
        model, odds = self.trained.model, []
        with torch.inference_mode():
            for start in range(0, len(row_K), self.prompts):
                batch = self.collator.query(user_G, end_G, task_G, query_GQ, row_K[None, start : start + self.prompts])
                output = model(model.inputs(batch).to(self.trained.device), "answers")
                odds.append(output.yes_log_odds_GC[0].double().cpu())  # unlike the probability, they do not saturate
        odds_K = torch.cat(odds)
        if odds_K.isnan().any():  # the CF vectors were checked when they were opened, so it comes from the weights
            raise InputError(
                self.trained.folder.model,
                "its weights give scores that are not a number",
                "train again, with a lower train.learning_rate if that does not help",
            )
        best = torch.argsort(odds_K, descending=True, stable=True)[:k]
        answers = (
            Answer(
                rank=rank,
                item_id=self.items.item_ids[row],
                text=self.items.texts[row],
                score=odds,
            )
            for rank, (row, odds) in enumerate(
                zip(row_K[best.numpy()].tolist(), odds_K[best].sigmoid().tolist(), strict=True), 1
            )
        )
        return Answers(items=tuple(answers), notes=notes)


def _words_of(texts: pl.Series) -> pl.Series:
    """Distinct words in lower case, without punctuation, in the order of their first occurrence."""
    words = texts.str.to_lowercase().str.extract_all(r"\w+")
    return words.explode().drop_nulls().unique(maintain_order=True)
