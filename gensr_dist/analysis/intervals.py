"""Estimates with intervals, and how they are written.

Dimensions: B resamples.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gensr_dist.evaluation.metrics import CONFIDENCE, TAILS, Estimate
from gensr_dist.pages.charts import Series

Verdict: TypeAlias = Literal["yes", "no", "undecided"]  # undecided: the interval holds both

_Z = 1.959964  # of a normal distribution at CONFIDENCE


def from_resamples(value: float, resample_B: NDArray[np.floating]) -> Estimate:
    """A value with the percentiles of its resamples; no interval where more than a few of them are not finite."""
    kept_B = resample_B[np.isfinite(resample_B)]
    if len(kept_B) < CONFIDENCE * len(resample_B) or not len(kept_B) or not math.isfinite(value):
        return Estimate(value=value, interval=None)
    low, high = np.quantile(kept_B, TAILS).tolist()
    return Estimate(value=value, interval=(low, high))


def share(count: float, of: int) -> Estimate:
    """A share with Wilson's interval (1927), which is there at 0 and 1 too.

    Args:
        count: of hits; a mean over repeated looks at the same trials may lie between integers.
        of: independent trials, at least 1.
    """
    p, spread = count / of, _Z**2 / of
    middle = (p + spread / 2) / (1 + spread)
    reach = _Z / (1 + spread) * math.sqrt(p * (1 - p) / of + spread / (4 * of))
    return Estimate(value=p, interval=(max(0.0, middle - reach), min(1.0, middle + reach)))


def holds_above(estimate: Estimate, bound: float) -> bool | None:
    """Whether the whole interval lies above (True) or below (False) a bound; None: it holds the bound, or is none."""
    if estimate.interval is None:
        return None
    low, high = estimate.interval
    return True if low > bound else False if high < bound else None


def verdict(estimate: Estimate, bound: float, *, above: Verdict = "yes", below: Verdict = "no") -> Verdict:
    """What a claim comes to by `holds_above`."""
    found = holds_above(estimate, bound)
    return "undecided" if found is None else above if found else below


def shown(estimate: Estimate, digits: int = 2) -> str:
    """`0.12 [0.08, 0.16]`; a dash for what is not finite."""
    if not math.isfinite(estimate.value):
        return "-"
    value = f"{estimate.value:.{digits}f}"
    if estimate.interval is None:
        return value
    low, high = estimate.interval
    return f"{value} [{low:.{digits}f}, {high:.{digits}f}]"


def recorded(estimate: Estimate) -> dict[str, float | None]:
    """For `finding.json`, which knows no NaN."""
    low, high = estimate.interval or (math.nan, math.nan)
    names = {"value": estimate.value, "low": low, "high": high}
    return {name: round(value, 5) if math.isfinite(value) else None for name, value in names.items()}


def columns(estimates: Sequence[Estimate]) -> dict[str, tuple[float, ...]]:
    """Values and ends of intervals, as a `Series` wants them; all must be finite."""
    ends = [estimate.interval or (estimate.value, estimate.value) for estimate in estimates]
    return {
        "y": tuple(round(estimate.value, 5) for estimate in estimates),
        "low": tuple(round(low, 5) for low, _ in ends),
        "high": tuple(round(high, 5) for _, high in ends),
    }


def over_steps(label: str, steps: Sequence[int], estimates: Sequence[Estimate]) -> Series:
    """A line over training steps, without what is not finite."""
    kept = [(step, each) for step, each in zip(steps, estimates, strict=True) if math.isfinite(each.value)]
    return Series(label=label, x=tuple(float(step) for step, _ in kept), **columns([each for _, each in kept]))
