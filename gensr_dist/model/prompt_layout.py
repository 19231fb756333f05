"""Where the tokens of a batch's prompts lie: one sequence a candidate, or one context for many candidates.

Dimensions: G groups, C candidates, R distinct requests, S context tokens, P block tokens, N tokens that a candidate has
for itself: S + P in joint scoring; in shared P, and in its late layers those of the query too.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

from gensr_dist.model.packing import Packing

Scoring = Literal["joint", "shared"]
_QUERY_STEP = 8  # queries whose lengths differ by less are padded to the longest of them


@dataclass(frozen=True)
class OwnTokens:
    """What each candidate of some groups has for itself, and what it sees besides."""

    mask_GCN: Tensor  # True at tokens and visible slots
    packing: Packing  # of [G, C * N]
    first_query: int  # place of their queries' first token in the context
    queries: int  # N - P; 0 where the block is all
    request_G: Tensor  # int64, context of each group
    context_mask_GS: Tensor  # True at the context's tokens that the candidate sees; nowhere in joint scoring

    def from_places(self, x_HMM: Tensor, axis: int) -> Tensor:
        """The part of an axis of S + P places that belongs to these tokens."""
        S = self.context_mask_GS.shape[1]
        block = x_HMM.narrow(axis, S, x_HMM.shape[axis] - S)
        if not self.queries:
            return block
        return torch.cat([x_HMM.narrow(axis, self.first_query, self.queries), block], dim=axis)


@dataclass(frozen=True)
class PromptLayout:
    """Made on the host, see `Packing`. The encoder sees the tokens of `contexts` followed by candidates' own.

    Shared scoring has the groups in the order of their queries' lengths.
    """

    context_mask_RS: Tensor  # True at tokens
    contexts: Packing | None  # of [R, S]; None in joint scoring, whose candidates have the context for themselves
    order_G: Tensor  # int64, which group of the batch each is
    place_G: Tensor  # int64, the other way round
    own: OwnTokens  # of all groups
    late: tuple[OwnTokens, ...]  # in the late layers of shared scoring: of consecutive groups with similar queries

    @classmethod
    def of(
        cls,
        scoring: Scoring,
        *,
        request_G: Tensor,
        context_mask_RS: Tensor,
        query_mask_RS: Tensor,
        block_mask_GCP: Tensor,
    ) -> Self:
        """The layout of masks on the host; a candidate without any token in its block is padding."""
        if scoring == "joint":
            candidate_GC1, context_mask_GS = block_mask_GCP.any(2, keepdim=True), context_mask_RS[request_G]
            own_mask_GCN = torch.cat([context_mask_GS[:, None] & candidate_GC1, block_mask_GCP], dim=2)
            nothing_GS = torch.zeros_like(context_mask_GS)
            own = OwnTokens(own_mask_GCN, Packing.of(own_mask_GCN.flatten(1)), 0, 0, request_G, nothing_GS)
            order_G = torch.arange(len(request_G))
            return cls(context_mask_RS, None, order_G, order_G, own, ())
        step_G = -(-query_mask_RS.sum(1) // _QUERY_STEP)[request_G]
        order_G = step_G.argsort(stable=True)
        request_G, block_mask_GCP = request_G[order_G], block_mask_GCP[order_G]
        groups = torch.unique_consecutive(step_G[order_G], return_counts=True)[1].tolist()
        asks_nothing_RS = torch.zeros_like(query_mask_RS)
        return cls(
            context_mask_RS=context_mask_RS,
            contexts=Packing.of(context_mask_RS),
            order_G=order_G,
            place_G=order_G.argsort(),
            own=_shared(request_G, context_mask_RS, asks_nothing_RS, block_mask_GCP),
            late=tuple(
                _shared(request, context_mask_RS, query_mask_RS, block_mask)
                for request, block_mask in zip(request_G.split(groups), block_mask_GCP.split(groups), strict=True)
            ),
        )


def _shared(request_G: Tensor, context_mask_RS: Tensor, query_mask_RS: Tensor, block_mask_GCP: Tensor) -> OwnTokens:
    """The query's tokens, where there are any, and those of the block."""
    query_mask_GS, context_mask_GS = query_mask_RS[request_G], context_mask_RS[request_G]
    asked = query_mask_GS.any(0).nonzero().flatten().tolist()
    first, end = (asked[0], asked[-1] + 1) if asked else (0, 0)
    candidate_GC1 = block_mask_GCP.any(2, keepdim=True)
    mask_GCN = torch.cat([query_mask_GS[:, None, first:end] & candidate_GC1, block_mask_GCP], dim=2)
    seen_GS = context_mask_GS & ~query_mask_GS
    return OwnTokens(mask_GCN, Packing.of(mask_GCN.flatten(1)), first, end - first, request_G, seen_GS)
