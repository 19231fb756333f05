"""Whether an entry's weight tells what the answer loses without it; and one history in full.

Dimensions: R rows, L history, C candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from gensr_dist.analysis.intervals import shown
from gensr_dist.analysis.soft_filter.lifts import mean, rank_correlation, ratios
from gensr_dist.analysis.soft_filter.weights import Int, LeftOut, Weights, left_out
from gensr_dist.data.events import BOTH_BITS, Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import Estimate
from gensr_dist.pages.table import Table
from gensr_dist.runs.trained_run import TrainedRun

RECENCY = "recency"  # what weights are compared with
_TEXT = 70  # letters of an item's text
_BEHAVIOURS = {Behaviour.RECOMMENDATION.bit: "recommendation", Behaviour.SEARCH.bit: "search", BOTH_BITS: "both"}
_CHANGES = {
    "change": "change",
    "size": "size of the change",
    "filtered": "change, filters alone",
    "filtered size": "its size",
}


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """Rank correlations within histories of three entries or more, meaned over rows."""

    correlations: Mapping[str, Mapping[str, Estimate]]  # by view or RECENCY, then by key of _CHANGES
    filters_share: Estimate  # size of the changes when filters alone do not see an entry, over that of real changes
    size: Estimate  # mean size of a real change, in log-odds
    rows: int

    @classmethod
    def of(cls, seen: Weights, changes: LeftOut, user_R: Int) -> Self:
        """Of weights for the first candidate and changes of its log-odds, of the same rows."""
        real_RL = seen.item_RL >= 0
        place_RL = np.broadcast_to(np.arange(real_RL.shape[1], dtype=np.float32), real_RL.shape)
        guesses = {view: weight_RCL[:, 0] for view, weight_RCL in seen.weights.items()} | {RECENCY: place_RL}
        targets = {
            "change": changes.change_RL,
            "size": np.abs(changes.change_RL),
            "filtered": changes.filtered_RL,
            "filtered size": np.abs(changes.filtered_RL),
        }
        found = {
            name: {
                key: mean(rank_correlation(guess_RL, target_RL, seen.length_R), user_R)
                for key, target_RL in targets.items()
            }
            for name, guess_RL in guesses.items()
        }
        size_R, filtered_R = targets["size"].sum(axis=1), targets["filtered size"].sum(axis=1)
        share, size = ratios(np.column_stack([filtered_R, size_R]), np.column_stack([size_R, seen.length_R]), user_R)
        return cls(
            correlations={
                name: {key: estimate for key, estimate in by_key.items() if estimate is not None}
                for name, by_key in found.items()
            },
            filters_share=share,
            size=size,
            rows=len(user_R),
        )

    def numbers(self) -> dict[str, Any]:
        """For `finding.json`."""
        return {
            "rank_correlation": {name: dict(by_key) for name, by_key in self.correlations.items()},
            "filters_share": self.filters_share,
            "size": self.size,
            "rows": self.rows,
        }

    def table(self, task: str) -> Table:
        """For people."""
        return Table(
            title=f"{task}: does a weight tell what an entry does?",
            note=f"Mean Spearman correlation within a history, of {self.rows:,} rows; 0 tells nothing. Leaving an "
            f"entry out changes the log-odds by {shown(self.size)} in the mean; hiding it from the filters alone, "
            f"by {shown(self.filters_share)} times that. Recency is what any weight has to beat.",
            heads=("", *_CHANGES.values()),
            rows=tuple(
                (
                    name if name == RECENCY else f"weight of the {name} view",
                    *(shown(by_key[key]) if key in by_key else "none" for key in _CHANGES),
                )
                for name, by_key in self.correlations.items()
            ),
        )

    def line(self, task: str) -> str:
        """For a terminal."""
        parts = [f"{name} {shown(by_key['size'])}" for name, by_key in self.correlations.items() if "size" in by_key]
        return (
            f"{task}: rank correlation with the size of the change when an entry is left out: {', '.join(parts)}; "
            f"filters alone make {shown(self.filters_share)} of it"
        )


def one_history(trained: TrainedRun, task: str, seen: Weights, rows: EvalRows) -> Table:
    """A history of median length, drawn, newest entry first, with weights for its positive."""
    median = np.sort(seen.length_R)[len(rows) // 2]
    row = int(np.random.default_rng(0).choice(np.flatnonzero(seen.length_R == median)))
    one = rows.take(np.array([row]))
    changes = left_out(trained, one)
    entries = range(int(seen.length_R[row]) - 1, -1, -1)
    users, texts, target = trained.items.users, trained.items.texts, int(one.candidate_RC[0, 0])
    query = f", searched with {trained.items.queries[int(one.query_R[0])]!r}" if one.query_R[0] >= 0 else ""
    return Table(
        title=f"{task}: the history of one user",
        note=f"User {users[int(one.user_R[0])]}; the positive is {texts[target][:_TEXT]!r}{query}, its log-odds are "
        f"{changes.whole_R[0]:.2f}. Newest first; change: what they lose without the entry.",
        heads=("entry", "met in", *(f"{view} weight" for view in seen.weights), "change", "change, filters alone"),
        rows=tuple(
            (
                texts[int(seen.item_RL[row, place])][:_TEXT],
                _BEHAVIOURS[int(seen.behaviour_RL[row, place])],
                *(f"{weight_RCL[row, 0, place]:.3f}" for weight_RCL in seen.weights.values()),
                f"{changes.change_RL[0, place]:+.3f}",
                f"{changes.filtered_RL[0, place]:+.3f}",
            )
            for place in entries
        ),
    )
