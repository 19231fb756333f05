"""T5 of the generative baselines: it reads vectors in place of tokens, and its decoder takes one step.

Dimensions: X any, G groups, C candidates, N places, S of a context, P of a candidate's block, D width, A answers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.model.backbone import Backbone, Memory
from gensr_dist.model.config import Scoring
from gensr_dist.model.prompt_layout import PromptLayout
from gensr_dist.model.t5 import load_t5


class T5Reader(nn.Module):
    """A T5 and the ways in which the baselines use it.

    Args:
        backbone: a size with random weights, a folder or a Hub name; see `load_t5`.
        vocabulary: tokens of the tokenizer.
        dropout: of T5.
        scoring: `shared` for `answers`, whose candidates have a context in common.
        one_step: drop what a decoder of one position has no use for: its queries, keys and relative positions.
    """

    def __init__(
        self, backbone: str, vocabulary: int, dropout: float, *, scoring: Scoring = "joint", one_step: bool = True
    ) -> None:
        super().__init__()
        self.backbone = Backbone(load_t5(backbone, vocabulary, dropout), scoring)
        t5 = self.backbone.t5
        del t5.encoder.embed_tokens, t5.decoder.embed_tokens  # other names of the token table
        if one_step:
            for block in t5.decoder.block:
                del block.layer[0].SelfAttention.q, block.layer[0].SelfAttention.k
            del t5.decoder.block[0].layer[0].SelfAttention.relative_attention_bias

    @property
    def width(self) -> int:
        """D."""
        return self.backbone.width

    @property
    def end(self) -> int:
        """Token that ends a text."""
        return self.backbone.t5.config.eos_token_id

    def embed(self, token_X: Tensor) -> Tensor:
        """Vectors of tokens [X, D]; 0 at padding."""
        vector_XD: Tensor = F.embedding(token_X, self.backbone.t5.shared.weight, padding_idx=0)
        return vector_XD * (token_X != 0)[..., None]

    def start_D(self) -> Tensor:
        """What the decoder begins with."""
        start = torch.tensor(self.backbone.start, device=self.backbone.t5.shared.weight.device)
        return self.backbone.embed(start)

    def encode(self, input_GND: Tensor, mask_GN: Tensor) -> Memory:
        """Encode sequences whose places all see each other.

        Args:
            input_GND: the sequences.
            mask_GN: True at their places, of which each sequence has one at least.
        """
        layout = PromptLayout.of(
            "joint",
            request_G=torch.arange(len(mask_GN), device=mask_GN.device),
            context_mask_RS=mask_GN[:, :0],
            block_mask_GCP=mask_GN[:, None],
        )
        return self.backbone.encode(input_GND[:, :0], input_GND[:, None], layout)

    def state(self, input_GND: Tensor, mask_GN: Tensor) -> Tensor:
        """The decoder's state at its first position [G, D], scaled as for T5's head; arguments as `encode`."""
        return self.backbone.decode(self.encode(input_GND, mask_GN), self.start_D()).squeeze(1)

    def answers(
        self, context_GSD: Tensor, mask_GS: Tensor, block_GCPD: Tensor, mask_GCP: Tensor, token_A: Tensor
    ) -> Tensor:
        """Logits [G, C, A] of tokens as the first of the answer, in float32.

        Args:
            context_GSD: what all candidates of a group follow, padded on the left; it does not see them.
            mask_GS: True at its places.
            block_GCPD: each candidate's own, padded on the right.
            mask_GCP: True at its places.
            token_A: the tokens.
        """
        request_G = torch.arange(len(mask_GS), device=mask_GS.device)
        layout = PromptLayout.of("shared", request_G=request_G, context_mask_RS=mask_GS, block_mask_GCP=mask_GCP)
        return self.backbone(context_GSD, block_GCPD, self.start_D(), layout, token_A)


def gathered(token_GX: Tensor, *, left: bool = False) -> Tensor:
    """The tokens of each row side by side [G, N], N of the longest row, with the padding (0) behind or left of them."""
    real_GX = token_GX != 0
    order_GX = real_GX.to(torch.int8).argsort(dim=1, descending=not left, stable=True)
    longest = int(real_GX.sum(1).max()) if len(token_GX) else 0
    sorted_GX = token_GX.gather(1, order_GX)
    return sorted_GX[:, token_GX.shape[1] - longest :] if left else sorted_GX[:, :longest]


def in_parts(score: Callable[[Tensor], Tensor], candidate_GC: Tensor, most: int) -> Tensor:
    """Scores [G, C] of candidates, as many at a time as memory holds: one row may have a whole catalogue of them.

    Args:
        score: of some candidates of all groups.
        candidate_GC: all of them.
        most: at a time.
    """
    parts = candidate_GC.split(max(1, most // max(1, len(candidate_GC))), dim=1)
    return torch.cat([score(part_GC) for part_GC in parts], dim=1)
