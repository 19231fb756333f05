"""Fusion of several channels' orders by reciprocal ranks, which needs no fitting.

Dimensions: G groups, D proposals of a channel, M proposals of all channels, K candidates, P proposals that are no
padding, S distinct pairs of a group and an item.
"""

from collections.abc import Sequence

import numpy as np

from gensr_dist.data.sparse_vectors import Int

RANK = 60  # added to every rank: the larger, the less the first places of one channel count beside agreement


def reciprocal_ranks(proposals: Sequence[Int], weights: Sequence[float], k: int) -> Int:
    """The k items a group of highest sum over channels of weight / (RANK + rank); equal ones in catalogue order.

    Args:
        proposals: of each channel: distinct items [G, D], best first, padded at the end with -1; at least one channel.
        weights: of each channel.
        k: wanted.

    Returns:
        Distinct items [G, K], padded at the end with -1.
    """
    groups = len(proposals[0])
    item_GM = np.concatenate(proposals, axis=1)
    gain_M = np.concatenate(
        [
            weight / (RANK + 1.0 + np.arange(part_GD.shape[1]))
            for part_GD, weight in zip(proposals, weights, strict=True)
        ]
    )
    group_P, place_P = np.nonzero(item_GM >= 0)  # by group, and in it in the order of channels: sums never differ
    item_P = item_GM[group_P, place_P]
    width = int(item_P.max(initial=0)) + 1
    key_S, of_P = np.unique(group_P * width + item_P, return_inverse=True)
    gain_S = np.bincount(of_P, weights=gain_M[place_P], minlength=len(key_S))
    group_S, item_S = np.divmod(key_S, width)
    order_S = np.lexsort((item_S, -gain_S, group_S))
    rank_S = np.arange(len(key_S)) - np.searchsorted(group_S, group_S)  # `group_S` ascends before and after sorting
    first_S = rank_S < k
    fused_GK = np.full((groups, k), -1, dtype=np.int64)
    fused_GK[group_S[first_S], rank_S[first_S]] = item_S[order_S][first_S]
    return fused_GK
