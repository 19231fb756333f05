"""Losses that put a target's positive before its negatives; each gives one number a target, in float32 at least.

Dimensions: P targets, N negatives of each, D width, I items.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.baselines.layers.precision import wide


def binary_cross_entropy(positive_P: Tensor, negative_PN: Tensor, real_PN: Tensor) -> Tensor:
    """-log s(p) - sum_n log(1 - s(n)); [P].

    Args:
        positive_P: logits.
        negative_PN: logits.
        real_PN: True where there is a negative.
    """
    negative_P = F.softplus(wide(negative_PN)).masked_fill(~real_PN, 0.0).sum(1)
    return F.softplus(-wide(positive_P)) + negative_P


def softmax_cross_entropy(positive_P: Tensor, negative_PN: Tensor, real_PN: Tensor) -> Tensor:
    """-log of the positive's share in the softmax over it and its negatives; [P]. Arguments: `binary_cross_entropy`."""
    positive_P = wide(positive_P)
    negative_PN = wide(negative_PN).masked_fill(~real_PN, -torch.inf)
    return torch.cat([positive_P[:, None], negative_PN], dim=1).logsumexp(1) - positive_P


def generalised_bce(
    positive_P: Tensor, negative_PN: Tensor, real_PN: Tensor, *, items: int, calibration: float
) -> Tensor:
    """gSASRec's: -beta log s(p) - sum_n log(1 - s(n)); [P].

    beta = alpha (t (1 - 1 / alpha) + 1 / alpha) = 1 - t (1 - alpha), alpha = k / (I - 1) for k negatives: with t = 1
    probabilities are as if every item had been a negative.

    Args:
        positive_P: logits.
        negative_PN: logits.
        real_PN: True where there is a negative.
        items: I.
        calibration: t; 0 gives `binary_cross_entropy`.
    """
    positive_loss_P = F.softplus(-wide(positive_P))
    negative_loss_P = F.softplus(wide(negative_PN)).masked_fill(~real_PN, 0.0).sum(1)
    alpha_P = real_PN.sum(1).to(positive_loss_P.dtype) / (items - 1)
    return (1 - calibration * (1 - alpha_P)) * positive_loss_P + negative_loss_P


def bpr_max(positive_P: Tensor, negative_PN: Tensor, real_PN: Tensor, *, regularisation: float) -> Tensor:
    """GRU4Rec's: -log sum_n a_n s(p - n) + r sum_n a_n n^2 with a the softmax of the negatives; [P].

    Args:
        positive_P: scores, after the model's last activation if it has one.
        negative_PN: scores.
        real_PN: True where there is a negative; without any the loss is 0.
        regularisation: r.
    """
    negative_PN = wide(negative_PN).masked_fill(~real_PN, 0.0)
    lowest = torch.finfo(negative_PN.dtype).min / 2
    # Shares of padding are the exponential of about -1e38, 0; those of a row of padding alone stay finite.
    log_share_PN = negative_PN.masked_fill(~real_PN, lowest).log_softmax(1)
    log_won_PN = log_share_PN + F.logsigmoid(wide(positive_P)[:, None] - negative_PN)
    ranking_P = -log_won_PN.logsumexp(1)
    size_P = (log_share_PN.exp() * negative_PN.square()).sum(1)
    return (ranking_P + regularisation * size_P).masked_fill(~real_PN.any(1), 0.0)


def catalogue_cross_entropy(state_PD: Tensor, target_P: Tensor, item_ID: Tensor, bias_I: Tensor | None) -> Tensor:
    """-log of the target's share in the softmax over all items; [P].

    Args:
        state_PD: what was made of a history.
        target_P: rows of the catalogue.
        item_ID: vectors of all items.
        bias_I: added to their logits.
    """
    logit_PI = F.linear(state_PD, item_ID, bias_I)
    return F.cross_entropy(wide(logit_PI), target_P, reduction="none")
