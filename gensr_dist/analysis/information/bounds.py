"""Lower bounds of mutual information, in nats, from the scores T of pairs.

MINE (eq. 12; Belghazi et al. 2018, arXiv 1801.04062): I >= E_P[T] - log E_PxP[e^T] (Donsker and Varadhan).
NWJ (Nguyen et al. 2010): I >= E_P[T] - E_PxP[e^(T - 1)], with T + 1 in place of T, so that T = 0 gives 0.
InfoNCE (van den Oord et al. 2018): I >= E_P[T(x, y) - log mean e^T(x, .)], the mean over y and the y of other examples;
never above the logarithm of their number.

Dimensions: M critics, B examples; entry [b, c] of a pair is x of b with y of c.
"""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Bound: TypeAlias = Literal["MINE", "InfoNCE", "NWJ"]
BOUNDS: tuple[Bound, ...] = ("MINE", "InfoNCE", "NWJ")


def log_mean_exp(score_MBB: Tensor, apart_MBB: Tensor) -> Tensor:
    """Log E_PxP[e^T] [M], over pairs of two independent examples."""
    total_M = score_MBB.masked_fill(~apart_MBB, -math.inf).flatten(1).logsumexp(1)
    return total_M - apart_MBB.flatten(1).sum(1).to(score_MBB).log()


def mine_objective(score_MBB: Tensor, apart_MBB: Tensor, log_average_M: Tensor) -> Tensor:
    """Something whose gradient is that of eq. 12 with the correction of its bias, E[grad T] - E[e^T grad T] / average.

    Over a batch the plain gradient divides by the batch's own mean of e^T, which is biased. Its value is no bound.

    Args:
        score_MBB: T of a batch.
        apart_MBB: pairs of two independent examples.
        log_average_M: logarithm of the moving average of the mean of e^T, without gradient.
    """
    return _joint(score_MBB).mean(1) - (log_mean_exp(score_MBB, apart_MBB) - log_average_M).exp()


def moving_average(log_average_M: Tensor | None, log_mean_M: Tensor, share: float) -> Tensor:
    """log((1 - share) average + share mean) from logarithms; of the first batch its own."""
    if log_average_M is None:
        return log_mean_M
    return torch.logaddexp(log_average_M + math.log1p(-share), log_mean_M + math.log(share))


def parts(bound: Bound, score_MBB: Tensor, apart_MBB: Tensor) -> Tensor:
    """Each example's part of a bound [M, B].

    Their mean is the bound. To first order they are its influence function, so that the mean over resampled examples
    is the bound of the resample.
    """
    joint_MB = _joint(score_MBB)
    if bound == "InfoNCE":
        own_BB = torch.eye(score_MBB.shape[-1], dtype=torch.bool, device=score_MBB.device)
        rivals_MB = score_MBB.masked_fill(~(apart_MBB | own_BB), -math.inf).logsumexp(2)
        return joint_MB - rivals_MB + (apart_MBB.sum(2) + 1).to(score_MBB).log()
    log_mean_M = log_mean_exp(score_MBB, apart_MBB)
    ratio_MBB = (score_MBB - log_mean_M[:, None, None]).exp().masked_fill(~apart_MBB, 0)  # mean 1 over pairs apart
    scale_M11 = score_MBB.shape[-1] / apart_MBB.sum((1, 2), keepdim=True).to(score_MBB)
    shares_MB = (ratio_MBB.sum(2) + ratio_MBB.sum(1)) * scale_M11[..., 0]  # mean 2
    if bound == "MINE":
        return joint_MB - log_mean_M[:, None] - (shares_MB - 2)
    return joint_MB + 1 - log_mean_M[:, None].exp() * (shares_MB - 1)


def _joint(score_MBB: Tensor) -> Tensor:
    return score_MBB.diagonal(dim1=1, dim2=2)
