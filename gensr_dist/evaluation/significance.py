"""Is one scorer better than another on the same rows? A paired test on NDCG@10.

Dimensions: R rows, D distinct differences, B resamples.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import CONFIDENCE, TASK_NAMES, ndcg_gain
from gensr_dist.files import atomic_file, read_json

CUTOFF = 10


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Mean difference in NDCG@10 of paired rows, first scorer less second."""

    difference: float
    low: float  # bootstrap interval at CONFIDENCE
    high: float
    p_value: float  # two-sided, of the sign-flip permutation test
    count: int  # rows


def paired_test(first_R: NDArray[np.int64], second_R: NDArray[np.int64], *, resamples: int, seed: int) -> PairedTest:
    """Compare two scorers by the ranks that they gave the positives of the same rows.

    The interval is the percentile bootstrap over rows; the p-value flips the sign of each row's difference at random
    (exchangeable under the null hypothesis) and counts the flips that end as far from zero as the observed mean.
    Both need only how often each distinct difference occurs, so a resample is a multinomial or binomial draw.

    Args:
        first_R: ranks by the first scorer.
        second_R: ranks by the second scorer, in the same order of rows.
        resamples: B, at least 1; the smallest p-value is 1 / (B + 1).
        seed: of the resampling.
    """
    assert first_R.shape == second_R.shape
    assert len(first_R) > 0
    rows = len(first_R)
    rng = np.random.default_rng(seed)
    difference_D, count_D = np.unique(ndcg_gain(first_R, CUTOFF) - ndcg_gain(second_R, CUTOFF), return_counts=True)
    observed = float(count_D @ difference_D) / rows

    draw_BD = rng.multinomial(rows, count_D / rows, size=resamples)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draw_BD @ difference_D / rows, [tail, 1 - tail])

    flip_BD = 2 * rng.binomial(count_D, 0.5, size=(resamples, len(count_D))) - count_D
    flipped_B = np.abs(flip_BD @ difference_D / rows)
    extreme = int(np.count_nonzero(flipped_B >= abs(observed) - 1e-12))
    return PairedTest(
        difference=observed,
        low=float(low),
        high=float(high),
        p_value=(1 + extreme) / (1 + resamples),
        count=rows,
    )


def save_ranks(run: Path, scorer: str, task: Behaviour, rank_R: NDArray[np.int64]) -> None:
    """Keep the ranks of a run's test rows for later comparisons: RUN/ranks/rec.npy, RUN/ranks/bm25_search.npy."""
    with atomic_file(_ranks_path(run, scorer, task)) as temporary, temporary.open("wb") as file:
        np.save(file, rank_R, allow_pickle=False)


def load_ranks(run: Path, scorer: str, task: Behaviour) -> NDArray[np.int64]:
    """Read what `save_ranks` wrote.

    Raises:
        InputError: the run has no such ranks.
    """
    path = _ranks_path(run, scorer, task)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(path, f"no saved ranks ({error})", "run `gensr evaluate` on this run") from None


def compare_runs(first: Path, second: Path, *, scorer: str, task: Behaviour, resamples: int, seed: int) -> PairedTest:
    """Paired test between the evaluations of two run folders.

    Raises:
        InputError: a run is not evaluated, or the two did not rank the same rows.
    """
    remedy = "run `gensr evaluate` on both runs over the same shards with the same evaluation.rows and seed"
    rows = [read_json(run / "metrics.json", remedy).get("protocol", {}).get("rows_digest") for run in (first, second)]
    if rows[0] is None or rows[0] != rows[1]:
        raise InputError(second / "metrics.json", f"its test rows are not those of {first}", remedy)
    return paired_test(
        load_ranks(first, scorer, task), load_ranks(second, scorer, task), resamples=resamples, seed=seed
    )


def _ranks_path(run: Path, scorer: str, task: Behaviour) -> Path:
    name = TASK_NAMES[task] if scorer == "gensr" else f"{scorer}_{TASK_NAMES[task]}"
    return run / "ranks" / f"{name}.npy"
