"""The sampled-negatives protocol: where each positive ranks among its frozen negatives.

Dimensions: R rows, C candidates (column 0 is the positive), F numbers that are found for each row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from tqdm import tqdm

from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import pessimistic_ranks

_NAN = -1  # stands for a rank that could not be had


class Scorer(Protocol):
    """Anything that scores candidates; higher is better."""

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C] of the candidates of each row. A row's scores do not depend on the other rows."""
        ...


@dataclass(frozen=True)
class ComparedScorer:
    """A scorer that takes part in an evaluation."""

    name: str  # key of report.TITLES
    scorer: Scorer
    tasks: frozenset[Behaviour]  # that it serves
    rows_a_call: int = 4_096  # of those that need little memory a row


class LossScorer(Protocol):
    """A scorer that is trained with the task loss."""

    def scores_and_losses(self, rows: EvalRows) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Scores [R, C] as of `Scorer`, and the task loss of each row [R]."""
        ...


@dataclass(frozen=True)
class RankedRows:
    """What is found out about some rows."""

    rank_R: NDArray[np.int64]  # of the positive, 1 is best
    loss_R: NDArray[np.float64]


def rank_positives(scorer: Scorer, rows: EvalRows, batch: int, *, progress: str | None = None) -> NDArray[np.int64]:
    """Rank of each row's positive: 1 + its negatives with an equal or higher score (ties count against it).

    Under `torch.distributed` each rank scores an equal share of the rows (the last ones repeat some, so that collective
    operations inside a scorer stay in step) and all ranks return all R results.

    Args:
        scorer: gives the scores.
        rows: what to rank.
        batch: rows a call of the scorer.
        progress: label of a progress bar; None shows none.

    Raises:
        InputError: a score is not a number; names the row.
    """
    return _on_all_ranks(lambda chunk: _ranks(scorer.score(chunk))[:, None], rows, batch, progress)[0]


def ranks_and_findings(
    scorer: Scorer,
    rows: EvalRows,
    batch: int,
    find: Callable[[NDArray[np.floating]], NDArray[np.float64]],
    *,
    progress: str,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ranks as of `rank_positives`, and what else the same scores say of each row [R, F].

    Args:
        scorer: gives the scores.
        rows: what to rank.
        batch: rows a call of the scorer.
        find: F numbers of each row, from its scores [R, C].
        progress: label of a progress bar.

    Raises:
        InputError: a score is not a number; names the row.
    """

    def both(chunk: EvalRows) -> NDArray[np.float64]:
        score_RC = scorer.score(chunk)
        return np.column_stack([_ranks(score_RC), np.nan_to_num(find(score_RC))])

    return _on_all_ranks(both, rows, batch, progress)


def ranks_and_losses(scorer: LossScorer, rows: EvalRows, batch: int) -> RankedRows:
    """Ranks as of `rank_positives`, and losses from the same passes of the scorer.

    Raises:
        InputError: a score is not a number; names the row.
    """

    def find(chunk: EvalRows) -> NDArray[np.float64]:
        score_RC, loss_R = scorer.scores_and_losses(chunk)
        return np.column_stack([_ranks(score_RC), loss_R]).astype(np.float64)

    rank_R, found_R1 = _on_all_ranks(find, rows, batch, None)
    return RankedRows(rank_R=rank_R, loss_R=found_R1[:, 0])


def _on_all_ranks(
    find: Callable[[EvalRows], NDArray[np.number]], rows: EvalRows, batch: int, progress: str | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What `find` says of each row: ranks [R], which it gives first, and F numbers [R, F].

    Each rank asks for an equal share of the rows, and has all answers.
    """
    total = len(rows)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    share = -(-total // world)
    index = np.arange(rank * share, (rank + 1) * share) % max(total, 1)
    own = max(0, min(share, total - rank * share))
    parts = []
    with tqdm(total=share, desc=progress, unit="row", disable=None if progress and rank == 0 else True) as bar:
        for start in range(0, share, batch):
            chunk = rows.take(index[start : start + batch])
            parts.append(find(chunk))
            bar.update(len(chunk))
    found_RF = np.zeros((total, parts[0].shape[1] if parts else 1))  # a float holds any rank exactly
    if own:
        found_RF[index[:own]] = np.concatenate(parts)[:own]
    if world > 1:
        found_RF = _sum_over_ranks(found_RF)
    rank_R = found_RF[:, 0]
    if (broken := np.flatnonzero(rank_R == _NAN)).size:
        row = broken[0]
        raise InputError(
            f"evaluation row {row}",
            f"a score of user {rows.user_R[row]} is not a number ({broken.size} of {len(rows)} rows have one)",
            "train again with a lower learning rate (`train.learning_rate`, or that of the baseline) or in fp32",
        )
    return rank_R.astype(np.int64), found_RF[:, 1:]


def draw_rows(rows: EvalRows, count: int, seed: int) -> EvalRows:
    """`count` rows drawn without replacement, in their own order; all of them where count is 0 or too large."""
    total = len(rows)
    if count == 0 or count >= total:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).choice(total, size=count, replace=False)))


def _ranks(score_RC: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.where(np.isnan(score_RC).any(axis=1), _NAN, pessimistic_ranks(score_RC))


def _sum_over_ranks(value_RF: NDArray[np.float64]) -> NDArray[np.float64]:
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    value = torch.from_numpy(value_RF).to(device)
    dist.all_reduce(value)
    return value.cpu().numpy()
