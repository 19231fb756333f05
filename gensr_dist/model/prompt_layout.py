"""Where the tokens of a batch's prompts lie: one sequence a candidate, or one context for many candidates.

Dimensions: G groups, C candidates, R distinct requests, S context tokens, P block tokens, N tokens that a candidate has
for itself: S + P in joint scoring, P in shared.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from gensr_dist.model.config import Scoring
from gensr_dist.model.packing import Packing


@dataclass(frozen=True)
class PromptLayout:
    """Made on the host, see `Packing`. The encoder sees the tokens of `contexts` followed by those of `own`."""

    request_G: Tensor  # int64, context of each group
    context_mask_RS: Tensor  # True at tokens
    own_mask_GCN: Tensor  # True at tokens and visible slots
    contexts: Packing | None  # of [R, S]; None in joint scoring, whose candidates have the context for themselves
    own: Packing  # of [G, C * N]

    @classmethod
    def of(cls, scoring: Scoring, *, request_G: Tensor, context_mask_RS: Tensor, block_mask_GCP: Tensor) -> Self:
        """The layout of masks on the host; a candidate without any token in its block is padding."""
        if scoring == "shared":
            own_mask_GCN, contexts = block_mask_GCP, Packing.of(context_mask_RS)
        else:
            context_mask_GCS = context_mask_RS[request_G][:, None, :] & block_mask_GCP.any(2, keepdim=True)
            own_mask_GCN, contexts = torch.cat([context_mask_GCS, block_mask_GCP], dim=2), None
        return cls(request_G, context_mask_RS, own_mask_GCN, contexts, Packing.of(own_mask_GCN.flatten(1)))
