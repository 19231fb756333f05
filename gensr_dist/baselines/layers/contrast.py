"""InfoNCE within a batch: row n of one side belongs to row n of the other, and all other pairs are negatives.

Dimensions: N pairs, D width.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.layers.precision import wide


def info_nce(left_ND: Tensor, right_ND: Tensor, temperature: float | Tensor, same_NN: Tensor | None = None) -> Tensor:
    """Loss by cosines: the mean of both directions and all pairs; 0 without pairs.

    Args:
        left_ND: one side; a zero vector has cosine 0 with all.
        right_ND: the other.
        temperature: divides the cosines.
        same_NN: True where left n and right m are of one user or item. Off the diagonal such pairs are no negatives.
    """
    cosine_NN = F.normalize(wide(left_ND), dim=1) @ F.normalize(wide(right_ND), dim=1).T
    return _symmetric(cosine_NN / temperature, same_NN)


class BilinearContrast(nn.Module):
    """InfoNCE with the likeness tanh(z W z'^T) / tau.

    Args:
        width: D.
        temperature: tau at first; its logarithm is learnt, so that it stays positive.
    """

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.weight_DD = nn.Parameter(torch.empty(width, width))
        nn.init.xavier_normal_(self.weight_DD)
        self.log_temperature = nn.Parameter(torch.tensor([math.log(temperature)]))  # DeepSpeed broadcasts no scalar

    def forward(self, left_ND: Tensor, right_ND: Tensor, same_NN: Tensor | None = None) -> Tensor:
        """Loss; arguments and mean as in `info_nce`."""
        likeness_NN = wide(left_ND @ self.weight_DD @ right_ND.T).tanh()
        return _symmetric(likeness_NN / self.log_temperature.exp(), same_NN)


def _symmetric(logit_NN: Tensor, same_NN: Tensor | None) -> Tensor:
    if same_NN is not None:
        itself_NN = torch.eye(len(logit_NN), dtype=torch.bool, device=logit_NN.device)
        logit_NN = logit_NN.masked_fill(same_NN & ~itself_NN, -torch.inf)
    right_N = logit_NN.diagonal()
    loss_N = (logit_NN.logsumexp(1) + logit_NN.logsumexp(0)) / 2 - right_N
    return loss_N.sum() / max(len(loss_N), 1)
