"""What the soft filters of a trained model attend to, for people who ask why.

Dimensions: G groups, C candidates, N history positions, L interactions, T title tokens, H heads.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gensr_dist.data.batches.batch import IGNORED
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.inputs import ModelInput


class AttendedHistory(NamedTuple):
    """Shares of each interaction of `batch.history_GL` in what a candidate is told of the history; rows add up to 1."""

    cf_GCL: Tensor
    semantic_GCL: Tensor


def attended_history(model: GenSR, inputs: ModelInput) -> AttendedHistory:
    """Attention of both soft filters (eq. 5 and 6), the mean over heads; zeros without a history.

    A title's tokens count together where the semantic view reads tokens.

    Args:
        model: in evaluation mode.
        inputs: what it is given.
    """
    batch, views = inputs.batch, model.views(inputs)
    L = batch.history_GL.shape[1]
    cf_GCN = model.cf_filter.weights(views.cf_UE[batch.candidate_GC], views.cf_GNE, inputs.cf_history.mask_GN)
    text_GCN = model.semantic_filter.weights(
        views.text_UD[batch.candidate_GC], views.text_GND, inputs.semantic_history.mask_GN
    )
    own_GN = torch.arange(L, device=cf_GCN.device).expand(len(batch.history_GL), L)
    if model.shape.model.semantic_history == "tokens":
        kept_GX = (inputs.title_UT[batch.history_GL] != 0).flatten(1)
        T = inputs.title_UT.shape[1]
        text_owner_GN = kept_GX.int().argsort(dim=1, descending=True, stable=True) // T
    else:
        text_owner_GN = own_GN
    return AttendedHistory(_by_interaction(cf_GCN, own_GN, L), _by_interaction(text_GCN, text_owner_GN, L))


def mean_entropies(model: GenSR, inputs: ModelInput) -> dict[str, float]:
    """Entropy in nats of the shares of each soft filter, the mean over candidates whose user has a history, by view.

    0 looks at one interaction alone, log L at all L of them alike.

    Args:
        model: in any mode, whose dropout is off meanwhile.
        inputs: what it is given.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            attended = attended_history(model, inputs)
    finally:
        model.train(was_training)
    real_GC = (inputs.batch.label_GC != IGNORED) & (inputs.batch.behaviour_GL != 0).any(1)[:, None]
    if not bool(real_GC.any()):
        return {}
    return {
        view: float(-torch.xlogy(weight_GCL, weight_GCL).sum(2)[real_GC].double().mean())
        for view, weight_GCL in (("cf", attended.cf_GCL), ("semantic", attended.semantic_GCL))
    }


def _by_interaction(weight_GCN: Tensor, owner_GN: Tensor, length: int) -> Tensor:
    """Sum of the weights of each interaction's positions, [G, C, L]."""
    G, C, N = weight_GCN.shape
    owner_GCN = owner_GN[:, None, :N].expand(G, C, N)
    return weight_GCN.new_zeros(G, C, length).scatter_add(2, owner_GCN, weight_GCN)
