"""What a weighted sum of features cannot say: units over all of them together, fitted with it by the same likelihood.

A channel's score means more or less by what the others say: two weak proposals of one item are a strong one, popularity
matters where words match badly.

Dimensions: M candidates of all groups, P groups with a positive, B of them in a step, K candidates of the longest, F
features, H units, X any rows.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

UNITS = 32
_EPOCHS = 12
_GROUPS = 32  # a step
_RATE, _DECAY = 1e-2, 1e-2
_SPREAD, _BIAS = 0.6, 0.3  # deviations of a unit's input and bias at first, with features of unit deviation
# Chosen on validation rows of Amazon Beauty.

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class HiddenUnits:
    """Adds sum over units of out x max(0, weight . features + bias) to a score."""

    weight: tuple[tuple[float, ...], ...]  # [H][F]
    bias: tuple[float, ...]
    out: tuple[float, ...]

    def score(self, value_XF: Float) -> Float:
        """Of features of unit deviation, any leading shape."""
        # By torch: threads of NumPy's BLAS wait for more work in a loop, and GenSR, scored next, took twice as long.
        weight_HF, bias_H, out_H = (torch.from_numpy(np.asarray(each)) for each in (self.weight, self.bias, self.out))
        unit_XH = F.linear(torch.from_numpy(value_XF), weight_HF, bias_H).relu()
        scores: Float = (unit_XH @ out_H).numpy()
        return scores

    def fits(self, features: int) -> bool:
        """Whether it has all numbers of so many features."""
        return len(self.weight) == len(self.bias) == len(self.out) and {*map(len, self.weight)} <= {features}


def fit_hidden_units(
    value_MF: Float, first_P: Int, length_P: Int, target_P: Int, weight_F: Float
) -> tuple[Float, HiddenUnits]:
    """Weights of the sum and units, by AdamW from the weights of the sum alone.

    Args:
        value_MF: features of unit deviation, group by group.
        first_P: where each group begins.
        length_P: its candidates.
        target_P: place of its positive in `value_MF`.
        weight_F: of the sum alone.
    """
    random = torch.Generator().manual_seed(0)
    value = torch.from_numpy(value_MF.astype(np.float32))
    first, length, target = (torch.from_numpy(each) for each in (first_P, length_P, target_P - first_P))
    features = value.shape[1]
    sum_F = torch.from_numpy(weight_F.astype(np.float32)).requires_grad_()
    weight_HF = (torch.randn(UNITS, features, generator=random) * _SPREAD * features**-0.5).requires_grad_()
    bias_H = (torch.randn(UNITS, generator=random) * _BIAS).requires_grad_()
    out_H = torch.zeros(UNITS, requires_grad=True)
    steps = _EPOCHS * max(1, len(first) // _GROUPS)
    optimizer = torch.optim.AdamW([sum_F, weight_HF, bias_H, out_H], lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen_B = torch.randint(len(first), (_GROUPS,), generator=random)
        place_K = torch.arange(int(length[chosen_B].max()))
        there_BK = place_K < length[chosen_B, None]
        value_BKF = value[torch.where(there_BK, first[chosen_B, None] + place_K, 0)]
        score_BK: Tensor = value_BKF @ sum_F + F.linear(value_BKF, weight_HF, bias_H).relu() @ out_H
        loss = F.cross_entropy(score_BK.masked_fill(~there_BK, -torch.inf), target[chosen_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    units = HiddenUnits(
        weight=tuple(tuple(row) for row in weight_HF.tolist()), bias=tuple(bias_H.tolist()), out=tuple(out_H.tolist())
    )
    return sum_F.detach().numpy().astype(np.float64), units
