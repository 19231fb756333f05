"""How much more weight some entries of a history get than their uniform share, with intervals over users.

Dimensions: R rows, C candidates, L history, U users, F figures, D resamples, I items, K distinct candidates, M pairs of
items, X all candidates of all rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import TAILS, Estimate
from gensr_dist.evaluation.resampling import drawn

_RESAMPLES = 1_000
_A_PASS = 100  # resamples in memory at a time
_RANKED = 3  # entries of a history, fewer have no rank correlation

Int = NDArray[np.int64]
Float = NDArray[np.floating]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Which entries of the histories are of a kind."""

    name: str
    of_RCL: Bool  # False at padding


def kinds_of(
    rows: EvalRows, item_RL: Int, behaviour_RL: Int, lists: Mapping[str, csr_array], names: Mapping[int, str]
) -> list[Entries]:
    """Kinds by recency, by likeness with the candidate, by behaviour.

    Args:
        rows: of one task.
        item_RL: histories, -1 pads.
        behaviour_RL: of them.
        lists: neighbours of items by name, [I, I].
        names: of behaviours.
    """
    real_RL = item_RL >= 0
    age_RL = real_RL.sum(axis=1, keepdims=True) - 1 - np.arange(item_RL.shape[1])
    shape = (*rows.candidate_RC.shape, item_RL.shape[1])
    found = [
        (name, np.broadcast_to((real_RL & (age_RL >= first) & (age_RL <= last))[:, None], shape))
        for name, first, last in (("newest", 0, 0), ("2nd and 3rd newest", 1, 2), ("4th to 10th", 3, 9))
    ]
    found.append(("older", np.broadcast_to((real_RL & (age_RL >= 10))[:, None], shape)))
    found += [(name, listed(close_II, rows.candidate_RC, item_RL)) for name, close_II in lists.items()]
    found.append(("the candidate itself", rows.candidate_RC[..., None] == item_RL[:, None]))
    for code, name in names.items():
        found.append((name, np.broadcast_to((real_RL & (behaviour_RL == code))[:, None], shape)))
    return [Entries(name=name, of_RCL=of_RCL) for name, of_RCL in found]


def listed(close_II: csr_array, candidate_RC: Int, item_RL: Int) -> Bool:
    """Whether each entry is in its candidate's list, [R, C, L]."""
    item_K, slot_X = np.unique(candidate_RC, return_inverse=True)
    of_K = close_II[item_K]
    items = close_II.shape[1]
    key_M = np.repeat(np.arange(len(item_K)), np.diff(of_K.indptr)).astype(np.int64) * items + of_K.indices
    slot_RC = slot_X.reshape(candidate_RC.shape)
    found: Bool = np.isin(slot_RC[..., None] * items + item_RL[:, None], key_M) & (item_RL >= 0)[:, None]
    return found


def lift(weight_RCL: Float, entries: Bool, real_RL: Bool, user_R: Int) -> tuple[Estimate, int] | None:
    """Weight of entries of a kind over their uniform share, and the rows that tell.

    Only pairs of a row and a candidate count whose history has entries of this kind and others.

    Args:
        weight_RCL: sums to 1.
        entries: of the kind [R, C, L].
        real_RL: no padding.
        user_R: of the rows; resampled.
    """
    count_RC, length_R = entries.sum(axis=2), real_RL.sum(axis=1)
    mixed_RC = (count_RC > 0) & (count_RC < length_R[:, None])
    if not mixed_RC.any():
        return None
    top_RC = np.where(mixed_RC, (weight_RCL * entries).sum(axis=2), 0)
    bottom_RC = np.where(mixed_RC, count_RC / np.maximum(length_R, 1)[:, None], 0)
    (estimate,) = ratios(top_RC.sum(axis=1)[:, None], bottom_RC.sum(axis=1)[:, None], user_R)
    return estimate, int(mixed_RC.any(axis=1).sum())


def mean(value_R: Float, user_R: Int) -> Estimate | None:
    """Mean over rows that have a value, NaN being none; None where no row has."""
    has_R = ~np.isnan(value_R)
    if not has_R.any():
        return None
    (estimate,) = ratios(np.nan_to_num(value_R)[:, None], has_R.astype(float)[:, None], user_R)
    return estimate


def ratios(top_RF: Float, bottom_RF: Float, user_R: Int) -> list[Estimate]:
    """Sum over sum of each figure, with an interval from resampled users; a column without a bottom gives NaN."""
    user_U, slot_R = np.unique(user_R, return_inverse=True)
    users, figures = len(user_U), top_RF.shape[1]
    sums_U2F = np.zeros((users, 2 * figures))
    np.add.at(sums_U2F, slot_R, np.concatenate([top_RF, bottom_RF], axis=1))
    rng = np.random.default_rng(0)
    parts = [sums_U2F.sum(axis=0, keepdims=True)]
    parts += [drawn(rng, users, _A_PASS) @ sums_U2F for _ in range(0, _RESAMPLES, _A_PASS)]
    sums_D2F = np.concatenate(parts)
    bottom_DF = sums_D2F[:, figures:]
    ratio_DF = np.divide(sums_D2F[:, :figures], bottom_DF, out=np.full(bottom_DF.shape, np.nan), where=bottom_DF > 0)
    estimates = []
    for ratio_D in ratio_DF.T:
        if np.isnan(ratio_D[0]):
            estimates.append(Estimate(value=float("nan"), interval=None))
            continue
        low, high = np.nanquantile(ratio_D[1:], TAILS).tolist()
        estimates.append(Estimate(value=float(ratio_D[0]), interval=(low, high)))
    return estimates


def entropy(weight_RCL: Float, length_R: Int) -> Float:
    """Of each row and candidate, 1 where all entries weigh alike and 0 where one has all; NaN for fewer than two."""
    logs_RCL = np.log(weight_RCL, out=np.zeros(weight_RCL.shape), where=weight_RCL > 0)
    whole_R = np.where(length_R > 1, np.log(np.maximum(length_R, 2)), np.nan)
    found: Float = -(weight_RCL * logs_RCL).sum(axis=2) / whole_R[:, None]
    return found


def rank_correlation(first_RL: Float, second_RL: Float, length_R: Int) -> Float:
    """Spearman's within each row; NaN where a row has fewer entries, or one of the two does not vary."""
    found_R = np.full(len(length_R), np.nan)
    for row, length in enumerate(length_R.tolist()):
        first_L, second_L = first_RL[row, :length], second_RL[row, :length]
        if length < _RANKED or np.ptp(first_L) == 0 or np.ptp(second_L) == 0:
            continue
        found_R[row] = np.corrcoef(rankdata(first_L), rankdata(second_L))[0, 1]
    return found_R
