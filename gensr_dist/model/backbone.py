"""T5 that answers with one token, over transformers' weights.

Two ways to encode a group's prompts. `joint` is the paper's: each candidate's prompt is a sequence of its own in which
every token sees every other. `shared` lets the context (instruction, query) see only itself, and each candidate's block
see the context and itself, at the positions that it would have alone: a context is encoded once for all that share it,
and a group gives exactly what its candidates give one at a time under the same mask. In the last LATE_LAYERS of the
encoder the query's tokens are among those of the block, a copy for each candidate: every word can tell whether the
candidate meets it, and the candidate how many do (as DeFormer, Cao et al. 2020: lower layers apart, upper together).

Layers that look at one token at a time work on the tokens of all prompts in one row, without padding. Only one answer
position is decoded, so the decoder needs neither a causal mask nor a cache: its self attention over a single position
is the output projection of that position's value.

Dimensions: G groups, C candidates, R distinct requests, S context tokens, Q query tokens, P block tokens, N tokens that
a candidate has for itself (S + P in joint scoring; P in shared, Q + P in its late layers), T tokens of all prompts, D
width, H heads, K width of a head, V vocabulary, B any batch.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import T5ForConditionalGeneration

from gensr_dist.model.prompt_attention import JointAttention, Memory, SharedAttention, T5Attention
from gensr_dist.model.prompt_layout import PromptLayout, Scoring
from gensr_dist.model.t5_layers import fuse_layers

LATE_LAYERS = 2  # one in which words see the candidate, and one in which the candidate sees what they found


class Backbone(nn.Module):
    """The T5 forward pass for groups of candidates."""

    def __init__(self, t5: T5ForConditionalGeneration, scoring: Scoring) -> None:
        super().__init__()
        fuse_layers(t5)
        self.t5 = t5
        self.scoring = scoring
        self.heads = t5.config.num_heads
        self.recompute = False  # blocks keep only their inputs for the backward pass, which computes them again

    @property
    def width(self) -> int:
        """D."""
        return self.t5.config.d_model

    @property
    def start(self) -> int:
        """Token id that the decoder begins with."""
        return self.t5.config.decoder_start_token_id

    def embed(self, token_B: Tensor) -> Tensor:
        """Token embeddings [B, D]."""
        return self.t5.shared(token_B)

    def forward(
        self,
        context_RSD: Tensor,
        block_GCPD: Tensor,
        start_D: Tensor,
        layout: PromptLayout,
        answers: Tensor | None = None,
    ) -> Tensor:
        """Logits of the answer's first token for each candidate.

        Args:
            context_RSD: embedded contexts, padded on the left.
            block_GCPD: embedded blocks.
            start_D: embedding of `start`.
            layout: of the scoring that the backbone was made for.
            answers: token ids [A] whose logits are wanted; None for the whole vocabulary.

        Returns:
            [G, C, V], or [G, C, A] in float32.
        """
        block_GCPD, contexts = block_GCPD.index_select(0, layout.order_G), layout.contexts
        dropout = self.t5.config.dropout_rate if self.training else 0.0
        t5 = T5Attention(self.t5.encoder.block[0].layer[0].SelfAttention, dropout)
        attention: JointAttention | SharedAttention
        if contexts is None:
            context_GSD = context_RSD.index_select(0, layout.own.request_G)
            context_GCSD = context_GSD[:, None].expand(-1, block_GCPD.shape[1], -1, -1)
            x_TD = layout.own.packing.pack(torch.cat([context_GCSD, block_GCPD], dim=2).flatten(1, 2))
            attention = JointAttention(t5, layout.own, x_TD)
        else:
            x_TD = torch.cat([contexts.pack(context_RSD), layout.own.packing.pack(block_GCPD.flatten(1, 2))])
            attention = SharedAttention(t5, contexts, layout, (layout.own,), x_TD)
        x_GCD = self._decode(self._encode(x_TD, attention), start_D).index_select(0, layout.place_G)
        if answers is None:
            return self.t5.lm_head(x_GCD)
        # In half precision many candidates of a group would have the same score.
        return F.linear(x_GCD.float(), self.t5.lm_head.weight[answers].float())

    def _encode(self, x_TD: Tensor, attention: JointAttention | SharedAttention) -> list[Memory]:
        encoder = self.t5.encoder
        x_TD = encoder.dropout(x_TD)
        first_late = max(0, len(encoder.block) - LATE_LAYERS)
        for number, block in enumerate(encoder.block):
            if number == first_late:
                x_TD, attention = attention.late(x_TD)
            x_TD = self._run(self._encoder_block, block, x_TD, attention)
        return attention.memory(encoder.dropout(encoder.final_layer_norm(x_TD)))

    def _encoder_block(self, block: Any, x_TD: Tensor, attention: JointAttention | SharedAttention) -> Tensor:
        layer = block.layer[0]
        weights, normed_TD = layer.SelfAttention, layer.layer_norm(x_TD)
        query_THK, key_THK, value_THK = (
            linear(normed_TD).unflatten(-1, (self.heads, -1)) for linear in (weights.q, weights.k, weights.v)
        )
        out_THK = attention(query_THK, key_THK, value_THK)
        return block.layer[-1](x_TD + layer.dropout(weights.o(out_THK.flatten(1))))

    def _decode(self, memory: list[Memory], start_D: Tensor) -> Tensor:
        decoder = self.t5.decoder
        G, C = sum(len(part.own_GCND) for part in memory), memory[0].own_GCND.shape[1]
        x_GCD = decoder.dropout(start_D.expand(G, C, -1))
        for block in decoder.block:
            x_GCD = self._run(self._decoder_block, block, x_GCD, memory)
        x_GCD = decoder.dropout(decoder.final_layer_norm(x_GCD))
        return x_GCD * self.width**-0.5 if self.t5.config.scale_decoder_outputs else x_GCD

    def _decoder_block(self, block: Any, x_GCD: Tensor, memory: list[Memory]) -> Tensor:
        attention = block.layer[0].SelfAttention
        value_GCD = attention.o(attention.v(block.layer[0].layer_norm(x_GCD)))
        x_GCD = x_GCD + block.layer[0].dropout(value_GCD)
        cross = block.layer[1].EncDecAttention
        # As in the soft filter: neither keys nor values of the memory are formed, for few queries read it.
        query_GCHK = cross.q(block.layer[1].layer_norm(x_GCD)).unflatten(-1, (self.heads, -1))
        absorbed_GCHD = torch.einsum("gchk,hkd->gchd", query_GCHK, cross.k.weight.unflatten(0, (self.heads, -1)))
        query_of_part = absorbed_GCHD.split([len(part.own_GCND) for part in memory])
        pooled_GCHD = torch.cat([part.pool(query) for part, query in zip(memory, query_of_part, strict=True)])
        value_HKD = cross.v.weight.unflatten(0, (self.heads, -1))
        out_GCHK = torch.einsum("gchd,hkd->gchk", pooled_GCHD, value_HKD)
        x_GCD = x_GCD + block.layer[1].dropout(cross.o(out_GCHK.flatten(2)))
        return block.layer[-1](x_GCD)

    def _run(self, compute: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`compute(*inputs)`, a block."""
        if not (self.recompute and torch.is_grad_enabled()):
            return compute(*inputs)

        def computed(*inputs: Any) -> Tensor:
            return _ComputeAgain.apply(compute(*inputs))

        # To the block's end, though its last layers need not be computed again, and without a look at shapes: weights
        # that are sharded over ranks are there only between the hooks before and after a layer.
        return checkpoint(computed, *inputs, use_reentrant=False, determinism_check="none", early_stop=False)


class _ComputeAgain(torch.autograd.Function):
    """Identity at a block's end: its backward pass is the first to ask for a tensor that the block did not keep.

    So the whole block is computed again before the backward pass of its first layer begins. In between, the hooks that
    let go of sharded weights after a layer's forward pass would take them from the layer whose gradient is computed.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        ctx.save_for_backward(output)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        _ = ctx.saved_tensors
        return gradient
