"""Results apart for rare and popular targets, and for users of short and long histories.

Dimensions: R rows, P rows of a stratum, I items, M training events of a window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import CUTOFF, ndcg_gain, recall_gain

POPULARITY_FIRSTS = (0, 3, 6, 12, 30)  # users who chose the target in training: 0 to 2, 3 to 5, ...
HISTORY_FIRSTS = (0, 1, 6, 11, 21, 51)  # interactions before the row: 0, 1 to 5, ...


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Rows whose value lies between two bounds."""

    first: int
    last: int | None  # inclusive; None for no bound
    count: int  # rows, at least 1
    recall: Mapping[str, float]  # Recall@CUTOFF by scorer
    ndcg: Mapping[str, float]  # NDCG@CUTOFF by scorer
    ndcg_error: Mapping[str, float]  # its standard error

    @property
    def label(self) -> str:
        """`3-5`, `0` or `30+`."""
        if self.last is None:
            return f"{self.first}+"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, kw_only=True)
class TaskStrata:
    """Strata of one task's rows, ascending; those without rows are left out."""

    popularity: Sequence[Stratum]  # by users who chose the target in training
    history: Sequence[Stratum]  # by interactions before the row

    @classmethod
    def of(
        cls,
        ranks: Mapping[str, NDArray[np.int64]],
        rows: EvalRows,
        store: TimelineStore,
        training_users_I: NDArray[np.int64],
    ) -> Self:
        """Divide rows.

        Args:
            ranks: rank of each row's positive by each scorer, [R].
            rows: what was ranked.
            store: of the log.
            training_users_I: from `training_users`.
        """
        length_R = rows.history_end_R - store.history_span(rows.user_R)[0]
        return cls(
            popularity=divide(ranks, training_users_I[rows.candidate_RC[:, 0]], POPULARITY_FIRSTS),
            history=divide(ranks, length_R, HISTORY_FIRSTS),
        )


def divide(
    ranks: Mapping[str, NDArray[np.int64]], value_R: NDArray[np.int64], firsts: Sequence[int]
) -> tuple[Stratum, ...]:
    """Means of each scorer in each stratum that has rows.

    Args:
        ranks: rank of each row's positive by each scorer, [R].
        value_R: what places a row; at least the first of `firsts`.
        firsts: least value of each stratum, ascending.
    """
    assert (value_R >= firsts[0]).all()
    stratum_R = np.searchsorted(firsts, value_R, side="right") - 1
    strata = []
    for stratum, first in enumerate(firsts):
        in_R = stratum_R == stratum
        if not in_R.any():
            continue
        gains = {name: ndcg_gain(rank_R[in_R], CUTOFF) for name, rank_R in ranks.items()}
        strata.append(
            Stratum(
                first=first,
                last=firsts[stratum + 1] - 1 if stratum + 1 < len(firsts) else None,
                count=int(in_R.sum()),
                recall={name: float(recall_gain(rank_R[in_R], CUTOFF).mean()) for name, rank_R in ranks.items()},
                ndcg={name: float(gain_P.mean()) for name, gain_P in gains.items()},
                ndcg_error={name: float(gain_P.std() / len(gain_P) ** 0.5) for name, gain_P in gains.items()},
            )
        )
    return tuple(strata)


def training_users(store: TimelineStore) -> NDArray[np.int64]:
    """Users with a positive training event of each item, [I]: unlike popularity, an event and its twin count once."""
    users_I = np.zeros(store.items, dtype=np.int64)
    for window in store.windows():
        event_M = window.training_event_R
        user_M, item_M = window.timelines.user_of(event_M), window.timelines.item_N[event_M].astype(np.int64)
        users_I += np.bincount(np.unique(user_M * store.items + item_M) % store.items, minlength=store.items)
    return users_I


def strata_json(strata: TaskStrata) -> dict[str, Any]:
    """Strata of a task as they stand in `metrics.json`."""
    return {
        name: [
            {
                "first": stratum.first,
                "last": stratum.last,
                "count": stratum.count,
                f"recall@{CUTOFF}": dict(stratum.recall),
                f"ndcg@{CUTOFF}": dict(stratum.ndcg),
            }
            for stratum in part
        ]
        for name, part in (("popularity", strata.popularity), ("history", strata.history))
    }
