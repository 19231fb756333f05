"""What dot products of gradients say of a conflict.

The gradient of few rows is its expectation and noise, which pulls every cosine towards zero: so the cosine of both
tasks' gradients stands beside that of two mini-batches of one task, of equal rows, and there is an estimate free of
noise. Dot products of gradients of different rows are unbiased for those of the expected gradients, so that, with means
over pairs of different mini-batches m and n,

    cos(E r, E s) ~ mean <r(m), s(n)> / sqrt(mean <r(m), r(n)> mean <s(m), s(n)>)

for gradients r of recommendation and s of search: the correction for attenuation (Spearman 1904).

Dimensions: T moments, M mini-batches, K tasks, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gensr_dist.analysis.intervals import from_resamples, share
from gensr_dist.evaluation.metrics import Estimate

_RESAMPLES = 1_000
_SEED = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Of one layer at one moment, or the mean over several. Intervals are over mini-batches."""

    cosine: Estimate  # of both tasks' gradients of a mini-batch
    negative: Estimate  # share of mini-batches whose cosine is below zero
    null: Estimate  # cosine of gradients of one task on two mini-batches
    null_negative: Estimate  # share of such pairs whose cosine is below zero
    expected: Estimate  # cosine of both tasks' expected gradients


def conflict_of(product_TMKMK: Floats) -> Conflict:
    """Means over moments, which share their mini-batches, with intervals by resampling mini-batches.

    Args:
        product_TMKMK: dot products of gradients. Moments with NaN are left out.
    """
    product_TMKMK = _whole(product_TMKMK)
    T, M, K = product_TMKMK.shape[:3]
    if not T:
        nothing = Estimate(value=np.nan, interval=None)
        return Conflict(cosine=nothing, negative=nothing, null=nothing, null_negative=nothing, expected=nothing)
    count_BM = _counts(M)
    norm_TMK = np.sqrt(np.einsum("tmkmk->tmk", product_TMKMK))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine_TMKMK = product_TMKMK / (norm_TMK[..., None, None] * norm_TMK[:, None, None])
    cosine_TM = np.einsum("tmm->tm", cosine_TMKMK[:, :, 0, :, 1])
    null_MM = np.mean([cosine_TMKMK[:, :, k, :, k] for k in range(K)], axis=(0, 1))
    negative_MM = np.mean([cosine_TMKMK[:, :, k, :, k] < 0 for k in range(K)], axis=(0, 1))
    return Conflict(
        cosine=from_resamples(float(cosine_TM.mean()), count_BM @ cosine_TM.mean(0) / M),
        negative=share(float((cosine_TM < 0).mean(0).sum()), M),
        null=_over_pairs(null_MM, count_BM),
        null_negative=_over_pairs(negative_MM, count_BM),
        expected=_sure(from_resamples(float(_expected(product_TMKMK)[0]), _expected(product_TMKMK, count_BM))),
    )


def difference(first_TMKMK: Floats, second_TMKMK: Floats) -> Estimate:
    """Cosine of expected gradients of one model less that of another, on the same mini-batches."""
    first_TMKMK, second_TMKMK = _whole(first_TMKMK), _whole(second_TMKMK)
    if not (len(first_TMKMK) and len(second_TMKMK)):
        return Estimate(value=np.nan, interval=None)
    count_BM = _counts(first_TMKMK.shape[1])
    value = float(_expected(first_TMKMK)[0] - _expected(second_TMKMK)[0])
    return _sure(from_resamples(value, _expected(first_TMKMK, count_BM) - _expected(second_TMKMK, count_BM)))


def _expected(product_TMKMK: Floats, count_BM: Floats | None = None) -> Floats:
    """Cosine of expected gradients of resamples [B]; NaN where the gradients of one task have no common direction.

    Moments are put together before the quotient, each task's gradients in units of their mean norm at the moment: one
    at which a task's gradients are noise alone then adds nothing, where a mean of quotients would be spoilt by it.
    """
    M = product_TMKMK.shape[1]
    count_BM = np.ones((1, M)) if count_BM is None else count_BM
    norm_TK = np.sqrt(np.einsum("tmkmk->tk", product_TMKMK) / M)
    scaled_MKMK = (product_TMKMK / (norm_TK[:, None, :, None, None] * norm_TK[:, None, None, None, :])).mean(0)
    rec_B, search_B, across_B = (
        np.einsum("bm,bn,mn->b", count_BM, count_BM, _apart(scaled_MKMK[:, a, :, b]), optimize=True)
        for a, b in ((0, 0), (1, 1), (0, 1))
    )
    both_B = np.where((rec_B > 0) & (search_B > 0), rec_B * search_B, np.nan)
    cosine_B: Floats = across_B / np.sqrt(both_B)
    return cosine_B


def _whole(product_TMKMK: Floats) -> Floats:
    return product_TMKMK[np.isfinite(product_TMKMK).all((1, 2, 3, 4))]


def _sure(estimate: Estimate) -> Estimate:
    """NaN without an interval: the gradients of a task are noise alone, and a quotient by nothing says nothing."""
    return Estimate(value=np.nan, interval=None) if estimate.interval is None else estimate


def _over_pairs(value_MM: Floats, count_BM: Floats) -> Estimate:
    """Mean over pairs of different mini-batches."""
    apart_MM, pairs_MM = _apart(value_MM), _apart(np.ones_like(value_MM))
    value = apart_MM.sum() / pairs_MM.sum()
    total_B, pairs_B = (
        np.einsum("bm,mn,bn->b", count_BM, x_MM, count_BM, optimize=True) for x_MM in (apart_MM, pairs_MM)
    )
    return from_resamples(float(value), total_B / pairs_B)


def _apart(value_XMM: Floats) -> Floats:
    """Without what a mini-batch has with itself."""
    return value_XMM * (1 - np.eye(value_XMM.shape[-1]))


def _counts(size: int) -> Floats:
    """How often each mini-batch is in each resample [B, M]."""
    return np.random.default_rng(_SEED).multinomial(size, np.full(size, 1 / size), size=_RESAMPLES).astype(float)
