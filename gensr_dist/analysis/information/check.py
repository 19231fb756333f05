"""Estimates against known information: the check of the estimators that the analysis uses."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gensr_dist.analysis.information.bounds import BOUNDS, Bound
from gensr_dist.analysis.information.channels import BinarySymmetricChannel, Channel, GaussianChannel
from gensr_dist.analysis.information.estimators import BATCH, STEPS, BoundEstimate, Estimates, UserSplit, estimates
from gensr_dist.pages.charts import LineChart, Series
from gensr_dist.pages.table import Table

EXAMPLES, SEEDS = 120_000, 2
_TRAIN, _STOP = 0.7, 0.03  # shares of the examples of a seed
_LARGE = 2.0  # nats, up to which the error is bounded
_HEADS = ("channel", "dimensions of x", "known nats", *BOUNDS, "error of MINE")
CHANNELS: tuple[Channel, ...] = (
    GaussianChannel(dimensions=20, nats=0.0),
    *(GaussianChannel(dimensions=2, nats=nats) for nats in (0.1, 0.5, 2.0, 4.0)),
    *(GaussianChannel(dimensions=10, nats=nats) for nats in (1.0, 3.0)),
    *(GaussianChannel(dimensions=20, nats=nats) for nats in (0.1, 0.5, 2.0, 4.0)),
    *(BinarySymmetricChannel(flip=flip) for flip in (0.11, 0.3)),
)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A channel, and what each bound says of it: mean and standard deviation over seeds, in nats."""

    kind: str
    dimensions: int
    nats: float
    estimates: Mapping[Bound, float | None]  # None: it became something that is not a number
    spreads: Mapping[Bound, float | None]
    relative_errors: Mapping[Bound, float | None]  # none where nothing is to be found

    @classmethod
    def of(cls, channel: Channel, found: Estimates) -> "Checked":
        """From one estimate a seed."""
        values = {
            bound: [each.nats for each in of_seeds if isinstance(each, BoundEstimate)]
            for bound, of_seeds in found.items()
        }
        whole = {bound: len(values[bound]) == len(found[bound]) for bound in BOUNDS}
        means = {bound: float(np.mean(values[bound])) if whole[bound] else None for bound in BOUNDS}
        return cls(
            kind=channel.kind,
            dimensions=channel.dimensions,
            nats=channel.nats,
            estimates=means,
            spreads={bound: float(np.std(values[bound])) if whole[bound] else None for bound in BOUNDS},
            relative_errors={
                bound: mean / channel.nats - 1 if mean is not None and channel.nats > 0 else None
                for bound, mean in means.items()
            },
        )


def check(say: Callable[[str], None]) -> tuple[Checked, ...]:
    """Estimate every channel, each seed on draws of its own; says a line a channel."""
    found = []
    for number, channel in enumerate(CHANNELS):
        samples = channel.draw(EXAMPLES * SEEDS, np.random.default_rng(number))
        found.append(Checked.of(channel, estimates(samples, [_split(seed) for seed in range(SEEDS)], seed=number)))
        say(_line(_cells(found[-1])))
    return tuple(found)


def check_heads() -> str:
    """The line above those of `check`."""
    return _line(_HEADS)


def as_object(checked: Sequence[Checked]) -> dict[str, Any]:
    """What `--check --json` prints."""
    return {
        "examples_of_a_seed": EXAMPLES,
        "seeds": SEEDS,
        "batch": BATCH,
        "steps": STEPS,
        "limit_of_InfoNCE_in_training": math.log(BATCH),
        "channels": [vars(each) for each in checked],
        "max_relative_error_to_2_nats": largest_error(checked, "MINE"),
        **{f"max_relative_error_to_2_nats_{bound}": largest_error(checked, bound) for bound in BOUNDS[1:]},
        "largest_estimate_of_nothing": max(
            (abs(each.estimates["MINE"] or 0.0) for each in checked if each.nats == 0), default=None
        ),
        "above_2_nats": above(checked, "MINE"),
        **{f"above_2_nats_{bound}": above(checked, bound) for bound in BOUNDS[1:]},
    }


def largest_error(checked: Sequence[Checked], bound: Bound) -> float | None:
    """Of all channels of information up to 2 nats; None if an estimate is missing there."""
    errors = [each.relative_errors[bound] for each in checked if 0 < each.nats <= _LARGE]
    known = [abs(error) for error in errors if error is not None]
    return max(known, default=None) if len(known) == len(errors) else None


def above(checked: Sequence[Checked], bound: Bound) -> dict[str, Any]:
    """Direction and size of the error above 2 nats: mean and worst of the relative errors."""
    errors = [each.relative_errors[bound] for each in checked if each.nats > _LARGE]
    known = [error for error in errors if error is not None]
    if not known:
        return {"direction": None, "size": None}
    mean = float(np.mean(known))
    return {"direction": "too low" if mean < 0 else "too high", "size": abs(mean), "worst": max(known, key=abs)}


def check_table(checked: Sequence[Checked], title: str, note: str) -> Table:
    """Known and estimated information in nats."""
    return Table(title=title, note=note, heads=_HEADS, rows=tuple(_cells(each) for each in checked))


def check_chart(checked: Sequence[Checked]) -> LineChart:
    """MINE against known information, with the diagonal."""
    gaussian = sorted((each for each in checked if each.kind == "Gaussian"), key=lambda each: each.nats)
    most = max((each.nats for each in gaussian), default=1.0)
    lines = [Series(label="known", x=(0.0, most), y=(0.0, most))]
    for size in sorted({each.dimensions for each in gaussian}):
        own = [each for each in gaussian if each.dimensions == size]
        known = [(each.nats, mean, each.spreads["MINE"] or 0) for each in own if (mean := each.estimates["MINE"])]
        lines.append(
            Series(
                label=f"MINE, {size} dimensions",
                x=tuple(nats for nats, _, _ in known),
                y=tuple(mean for _, mean, _ in known),
                low=tuple(mean - spread for _, mean, spread in known),
                high=tuple(mean + spread for _, mean, spread in known),
            )
        )
    return LineChart(
        name="estimates_against_known_information",
        title="MINE against channels of known information",
        alt="Estimated against known information of Gaussian channels of several dimensions, with the diagonal",
        x="known, nats",
        y="estimated, nats",
        series=tuple(lines),
    )


def _split(seed: int) -> UserSplit:
    own_N = seed * EXAMPLES + np.arange(EXAMPLES)
    first, second = int(_TRAIN * EXAMPLES), int((_TRAIN + _STOP) * EXAMPLES)
    return UserSplit(train_P=own_N[:first], stop_P=own_N[first:second], estimate_P=own_N[second:])


def _line(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:<18}" for cell in cells).rstrip()


def _cells(each: Checked) -> tuple[str, ...]:
    def shown(bound: Bound) -> str:
        mean, spread = each.estimates[bound], each.spreads[bound]
        return "failed" if mean is None else f"{mean:.3f} ± {spread:.3f}"

    error = each.relative_errors["MINE"]
    of_mine = "" if error is None else f"{error:+.1%}"
    return (each.kind, str(each.dimensions), f"{each.nats:.3f}", *(shown(bound) for bound in BOUNDS), of_mine)
