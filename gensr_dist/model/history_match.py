"""How near a candidate is to the single interactions of a history, told to T5 as numbers, one module a view.

The soft filter finds the interactions that are near a candidate and hands on what they are; how near they are is lost
in its softmax, and a pooled history forgets single items. Counting methods live on exactly these likenesses, and they
hold for users and items that training has never seen.

Dimensions: G groups, C candidates, L history, U distinct items, X width of the view, D width of the backbone.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.data.history_evidence import DECAY

FEATURES = 4
HIDDEN = 32
APART = -1.0  # likeness where there is nothing to be like: the least that a cosine can be


class HistoryMatch(nn.Module):
    """From cosines of a candidate with each item of the history: sum by recency, newest, mean and greatest.

    The candidate's own earlier occurrences are left out: sampled negatives have none, so they would tell the positive.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, width))

    def forward(self, item_UX: Tensor, history_GL: Tensor, candidate_GC: Tensor) -> Tensor:
        """What the slot of the filtered history gets for each candidate.

        Args:
            item_UX: vectors of the batch's items in the view; number 0 is padding.
            history_GL: numbers of the histories' items, oldest first, 0 at the end.
            candidate_GC: numbers of the candidates.

        Returns:
            [G, C, D].
        """
        unit_UX = F.normalize(item_UX, dim=-1)
        other_GCL = (history_GL[:, None] != 0) & (history_GL[:, None] != candidate_GC[..., None])
        # Padding is masked, and its many copies would be added to a gradient one by one.
        history_GLX = F.embedding(history_GL, unit_UX, padding_idx=0)
        like_GCL = torch.bmm(unit_UX[candidate_GC], history_GLX.transpose(1, 2))
        greatest_GC = like_GCL.masked_fill(~other_GCL, APART).amax(-1)

        length_G1 = (history_GL != 0).sum(1, keepdim=True)
        age_GL = length_G1 - 1 - torch.arange(history_GL.shape[1], device=history_GL.device)
        there_GL = age_GL >= 0
        weights = (there_GL * DECAY ** age_GL.clamp_min(0), age_GL == 0, there_GL / length_G1.clamp_min(1))
        weight_GL3 = torch.stack([weight_GL.to(like_GCL.dtype) for weight_GL in weights], dim=-1)
        summed_GC3 = (like_GCL * other_GCL) @ weight_GL3
        return self.layers(torch.cat([summed_GC3, greatest_GC[..., None]], dim=-1))
