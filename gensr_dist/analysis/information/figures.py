"""One figure of a model: an amount of information in bits, with its interval.

Dimensions: U users, B resamples, P held-out examples of all seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gensr_dist.analysis.information.bounds import BOUNDS
from gensr_dist.analysis.information.estimators import BoundEstimate, BrokenEstimate, Samples, estimates
from gensr_dist.analysis.information.examples import CalibratedAnswers, Parts, Users

_ENDS = (2.5, 97.5)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Bits, with a 95% bootstrap interval over users."""

    bits: float
    low: float
    high: float
    by_seed: tuple[float, ...] = ()

    @classmethod
    def of(cls, parts: Parts, weight_BU: NDArray[np.float64], by_seed: Sequence[float] = ()) -> "Figure":
        """From parts in nats."""
        low, high = np.nanpercentile(parts.resampled(weight_BU), _ENDS)
        bits = [float(nats) / math.log(2) for nats in (parts.mean(), low, high)]
        return cls(bits=bits[0], low=bits[1], high=bits[2], by_seed=tuple(nats / math.log(2) for nats in by_seed))

    @classmethod
    def of_difference(cls, first: Parts, second: Parts, weight_BU: NDArray[np.float64]) -> "Figure":
        """First less second, on the same users."""
        low, high = np.nanpercentile(first.resampled(weight_BU) - second.resampled(weight_BU), _ENDS)
        bits = [float(nats) / math.log(2) for nats in (first.mean() - second.mean(), low, high)]
        return cls(bits=bits[0], low=bits[1], high=bits[2])

    def __str__(self) -> str:
        return f"{self.bits:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a model in a task, in parts by user; those that could not be are absent."""

    parts: Mapping[str, Parts]  # by bound, "plug-in", and "clicked, " with the bound
    by_seed: Mapping[str, tuple[float, ...]]  # nats
    entropy: float  # H(Y), bits
    width: int  # of the input
    problems: tuple[str, ...]


def measure(answers: CalibratedAnswers, users: Users, every_U: NDArray[np.int64]) -> Measured:
    """All figures of a model in a task.

    Args:
        answers: of the model.
        users: how they are divided.
        every_U: users that do not calibrate, ascending.
    """
    parts = {"plug-in": Parts.of(answers.plug_in_parts(), answers.user_X, every_U)}
    by_seed: dict[str, tuple[float, ...]] = {}
    problems: list[str] = []
    for prefix, samples in (("", answers.draws()), ("clicked, ", answers.labels())):
        found = _bounds(samples, users, every_U)
        for bound, of_bound in found.items():
            if isinstance(of_bound, str):
                problems.append(prefix + of_bound)
            else:
                parts[prefix + bound], by_seed[prefix + bound] = of_bound
    return Measured(
        parts=parts,
        by_seed=by_seed,
        entropy=answers.entropy() / math.log(2),
        width=answers.input_XD.shape[1],
        problems=tuple(problems),
    )


def _bounds(
    samples: Samples, users: Users, every_U: NDArray[np.int64]
) -> Mapping[str, tuple[Parts, tuple[float, ...]] | str]:
    """Of each bound its parts over all seeds and its nats by seed, or why it has none."""
    splits = users.splits(samples.group_N)
    found = estimates(samples, splits, seed=0)
    user_P = samples.group_N[np.concatenate([split.estimate_P for split in splits])]
    result: dict[str, tuple[Parts, tuple[float, ...]] | str] = {}
    for bound in BOUNDS:
        sound = [each for each in found[bound] if isinstance(each, BoundEstimate)]
        broken = [each for each in found[bound] if isinstance(each, BrokenEstimate)]
        if broken:
            result[bound] = broken[0].problem
            continue
        part_P = np.concatenate([each.part_P for each in sound])
        result[bound] = (Parts.of(part_P, user_P, every_U), tuple(each.nats for each in sound))
    return result
