"""Losses of models whose state at a position is compared with items by a dot product.

Dimensions: S sequences, L positions, D width, N negatives a position, B shared negatives, P targets of the batch, U
items of the batch, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gensr_dist.baselines.layers import ranking_losses
from gensr_dist.data.batches.like_lengths import by_length
from gensr_dist.data.batches.sequences import SequenceBatch

SequenceLoss = Literal["bce", "ce", "sampled", "gbce", "bpr_max"]
SHARED: frozenset[str] = frozenset(
    {"sampled", "gbce", "bpr_max"}
)  # that compare with negatives which all positions share


@dataclass(frozen=True)
class LossSettings:
    """Which loss, and its own constants."""

    name: SequenceLoss
    items: int  # I
    shared: int = 0  # negatives that all positions of a step share, of the losses that have such
    calibration: float = 0.75  # t of gbce
    regularisation: float = 1.0  # of bpr_max

    @property
    def shared_negatives(self) -> int:
        """Those that the loss asks a step for."""
        return self.shared if self.name in SHARED else 0


def loss_by_length(
    settings: LossSettings,
    states: Callable[[SequenceBatch], Tensor],
    item_UD: Tensor,
    batch: SequenceBatch,
    catalogue_ID: Tensor | None,
    bias_I: Tensor | None = None,
) -> Tensor:
    """`sequence_loss` of a batch in whose parts `by_length` `states` says what each position knows, [S, L, D]."""
    losses = [
        sequence_loss(settings, states(part), item_UD, part, catalogue_ID, bias_I) for _, part in by_length(batch)
    ]
    return torch.stack(losses).sum()


def sequence_loss(
    settings: LossSettings,
    state_SLD: Tensor,
    item_UD: Tensor,
    batch: SequenceBatch,
    catalogue_ID: Tensor | None,
    bias_I: Tensor | None = None,
) -> Tensor:
    """Sum over the targets of the batch.

    Args:
        settings: of the loss.
        state_SLD: what each position knows.
        item_UD: vectors of the batch's items.
        batch: targets and negatives.
        catalogue_ID: vectors of all items, for `ce` alone.
        bias_I: added to the scores of items.
    """
    sequence_P, position_P = batch.is_target_SL.nonzero(as_tuple=True)
    state_PD = state_SLD[sequence_P, position_P]
    target_P = batch.next_SL[sequence_P, position_P]
    if settings.name == "ce":
        assert catalogue_ID is not None
        return ranking_losses.catalogue_cross_entropy(state_PD, batch.item_U[target_P], catalogue_ID, bias_I).sum()
    bias_U = item_UD.new_zeros(len(item_UD)) if bias_I is None else bias_I[batch.item_U.clamp_min(0)]
    positive_P = (state_PD * item_UD[target_P]).sum(1) + bias_U[target_P]
    if settings.name == "bce":
        negative_PN = batch.negative_SLN[sequence_P, position_P]
        score_PN = torch.einsum("pd,pnd->pn", state_PD, item_UD[negative_PN]) + bias_U[negative_PN]
        return ranking_losses.binary_cross_entropy(positive_P, score_PN, negative_PN > 0).sum()
    score_PB = state_PD @ item_UD[batch.shared_B].T + bias_U[batch.shared_B]
    # A target among the shared negatives is none of its own.
    real_PB = batch.item_U[batch.shared_B][None] != batch.item_U[target_P][:, None]
    if settings.name == "gbce":
        loss_P = ranking_losses.generalised_bce(
            positive_P, score_PB, real_PB, items=settings.items, calibration=settings.calibration
        )
    elif settings.name == "sampled":
        loss_P = ranking_losses.softmax_cross_entropy(positive_P, score_PB, real_PB)
    else:
        loss_P = ranking_losses.bpr_max(positive_P, score_PB, real_PB, regularisation=settings.regularisation)
    return loss_P.sum()
