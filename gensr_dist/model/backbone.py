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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import T5ForConditionalGeneration
from typing_extensions import Self

from gensr_dist.model.packing import Packing
from gensr_dist.model.prompt_layout import OwnTokens, PromptLayout, Scoring
from gensr_dist.model.t5_layers import fuse_layers

LATE_LAYERS = 2  # one in which words see the candidate, and one in which the candidate sees what they found


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to for some groups: their contexts, in shared scoring, and candidates' own tokens."""

    context_GSD: Tensor | None
    context_bias_GS: Tensor | None  # 0 at tokens, else the lowest number
    own_GCND: Tensor
    own_bias_GCN: Tensor


class Backbone(nn.Module):
    """The T5 forward pass for groups of candidates."""

    def __init__(self, t5: T5ForConditionalGeneration, scoring: Scoring) -> None:
        super().__init__()
        fuse_layers(t5)
        self.t5 = t5
        self.scoring = scoring
        self.dropout = t5.config.dropout_rate
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
        attention: _JointAttention | _SharedAttention
        if contexts is None:
            context_GSD = context_RSD.index_select(0, layout.own.request_G)
            context_GCSD = context_GSD[:, None].expand(-1, block_GCPD.shape[1], -1, -1)
            x_TD = layout.own.packing.pack(torch.cat([context_GCSD, block_GCPD], dim=2).flatten(1, 2))
            attention = _JointAttention(self, layout.own, x_TD)
        else:
            x_TD = torch.cat([contexts.pack(context_RSD), layout.own.packing.pack(block_GCPD.flatten(1, 2))])
            attention = _SharedAttention(self, contexts, layout, (layout.own,), x_TD)
        x_GCD = self._decode(self._encode(x_TD, attention), start_D).index_select(0, layout.place_G)
        if answers is None:
            return self.t5.lm_head(x_GCD)
        # In half precision many candidates of a group would have the same score.
        return F.linear(x_GCD.float(), self.t5.lm_head.weight[answers].float())

    def _encode(self, x_TD: Tensor, attention: "_JointAttention | _SharedAttention") -> list[Memory]:
        encoder = self.t5.encoder
        x_TD = encoder.dropout(x_TD)
        first_late = max(0, len(encoder.block) - LATE_LAYERS)
        for number, block in enumerate(encoder.block):
            if number == first_late:
                x_TD, attention = attention.late(x_TD)
            x_TD = self._run(self._encoder_block, block, x_TD, attention)
        return attention.memory(encoder.dropout(encoder.final_layer_norm(x_TD)))

    def _encoder_block(self, block: Any, x_TD: Tensor, attention: "_JointAttention | _SharedAttention") -> Tensor:
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
        pooled_GCHD = torch.cat([self._pool(*pair) for pair in zip(query_of_part, memory, strict=True)])
        value_HKD = cross.v.weight.unflatten(0, (self.heads, -1))
        out_GCHK = torch.einsum("gchd,hkd->gchk", pooled_GCHD, value_HKD)
        x_GCD = x_GCD + block.layer[1].dropout(cross.o(out_GCHK.flatten(2)))
        return block.layer[-1](x_GCD)

    def _pool(self, query_GCHD: Tensor, memory: Memory) -> Tensor:
        """Mean of the memory [G, C, H, D], weighted by softmax of its products with each query."""
        score_GCHN = query_GCHD @ memory.own_GCND.transpose(-1, -2) + memory.own_bias_GCN[:, :, None]
        if memory.context_GSD is None or memory.context_bias_GS is None:
            return self.dropped(score_GCHN.softmax(-1)) @ memory.own_GCND
        C, S = query_GCHD.shape[1], memory.context_GSD.shape[1]
        seen_GMS = query_GCHD.flatten(1, 2) @ memory.context_GSD.transpose(-1, -2) + memory.context_bias_GS[:, None]
        seen_GCHS = seen_GMS.unflatten(1, (C, self.heads))
        weight_GCHX = self.dropped(torch.cat([seen_GCHS, score_GCHN], -1).softmax(-1))
        from_context_GMD = weight_GCHX[..., :S].flatten(1, 2) @ memory.context_GSD
        return weight_GCHX[..., S:] @ memory.own_GCND + from_context_GMD.unflatten(1, (C, self.heads))

    def position_bias(self, length: int, like: Tensor) -> Tensor:
        """Relative-position bias [H, N, N] of the encoder, which all its layers share."""
        attention: Any = self.t5.encoder.block[0].layer[0].SelfAttention
        # Fused attention refuses a bias whose last dimension is not the innermost.
        return attention.compute_bias(length, length, device=like.device)[0].to(like.dtype).contiguous()

    def attend(self, query_BHNK: Tensor, key_BHNK: Tensor, value_BHNK: Tensor, bias: Tensor) -> Tensor:
        """Attention of whole sequences, unscaled as T5's; [B, H, N, K]."""
        return F.scaled_dot_product_attention(
            query_BHNK,
            key_BHNK,
            value_BHNK,
            attn_mask=bias,
            dropout_p=self.dropout if self.training else 0.0,
            scale=1.0,
        )

    def dropped(self, weight: Tensor) -> Tensor:
        """Attention weights after dropout, in training."""
        return F.dropout(weight, self.dropout, self.training)

    def _run(self, compute: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`compute(*inputs)`, a block."""
        if not (self.recompute and torch.is_grad_enabled()):
            return compute(*inputs)

        def computed(*inputs: Any) -> Tensor:
            return _ComputeAgain.apply(compute(*inputs))

        # To the block's end, though its last layers need not be computed again, and without a look at shapes: weights
        # that are sharded over ranks are there only between the hooks before and after a layer.
        return checkpoint(computed, *inputs, use_reentrant=False, determinism_check="none", early_stop=False)


class _JointAttention:
    """Each candidate's prompt sees the whole of itself."""

    def __init__(self, backbone: Backbone, own: OwnTokens, x_TD: Tensor) -> None:
        self.backbone, self.own = backbone, own
        self.own_bias_GCN = _mask_bias(own.mask_GCN, x_TD)
        bias_HNN = backbone.position_bias(own.mask_GCN.shape[2], x_TD)
        self.bias_BHNN = bias_HNN + self.own_bias_GCN.flatten(0, 1)[:, None, None, :]

    def __call__(self, query_THK: Tensor, key_THK: Tensor, value_THK: Tensor) -> Tensor:
        """[T, H, K]."""
        packing, (G, C, N) = self.own.packing, self.own.mask_GCN.shape
        query_BHNK, key_BHNK, value_BHNK = (
            packing.pad(x).view(G * C, N, *x.shape[1:]).transpose(1, 2) for x in (query_THK, key_THK, value_THK)
        )
        out_BHNK = self.backbone.attend(query_BHNK, key_BHNK, value_BHNK, self.bias_BHNN)
        return packing.pack(out_BHNK.transpose(1, 2).reshape(G, C * N, *query_THK.shape[1:]))

    def late(self, x_TD: Tensor) -> tuple[Tensor, Self]:
        """The late layers are like the others."""
        return x_TD, self

    def memory(self, x_TD: Tensor) -> list[Memory]:
        """What the decoder attends to."""
        own_GCND = self.own.packing.pad(x_TD).unflatten(1, self.own.mask_GCN.shape[1:])
        return [Memory(None, None, own_GCND, self.own_bias_GCN)]


class _SharedAttention:
    """Contexts see themselves; candidates' own tokens see themselves and their context."""

    def __init__(
        self, backbone: Backbone, contexts: Packing, layout: PromptLayout, parts: tuple[OwnTokens, ...], x_TD: Tensor
    ) -> None:
        self.backbone, self.contexts, self.layout = backbone, contexts, layout
        S, P = layout.context_mask_RS.shape[1], layout.own.mask_GCN.shape[2]
        bias_HMM = backbone.position_bias(S + P, x_TD)
        self.among_context_RHSS = bias_HMM[:, :S, :S] + _mask_bias(layout.context_mask_RS, x_TD)[:, None, None, :]
        self.parts = [_OwnAttention(backbone, own, bias_HMM, x_TD) for own in parts]
        self.tokens = [contexts.tokens, *(own.packing.tokens for own in parts)]

    def __call__(self, query_THK: Tensor, key_THK: Tensor, value_THK: Tensor) -> Tensor:
        """[T, H, K]."""
        split = [x.split(self.tokens) for x in (query_THK, key_THK, value_THK)]
        context_TIK, *own_TIK = zip(*split, strict=True)
        query_RHSK, key_RHSK, value_RHSK = (self.contexts.pad(x).transpose(1, 2) for x in context_TIK)
        out_RHSK = self.backbone.attend(query_RHSK, key_RHSK, value_RHSK, self.among_context_RHSS)
        own = [part(x, (key_RHSK, value_RHSK)) for part, x in zip(self.parts, own_TIK, strict=True)]
        return torch.cat([self.contexts.pack(out_RHSK.transpose(1, 2)), *own])

    def late(self, x_TD: Tensor) -> tuple[Tensor, Self]:
        """The tokens with a copy of the query's before each block, and their attention."""
        context_TD, own_TD = x_TD.split(self.tokens)
        context_RSD, C = self.contexts.pad(context_TD), self.layout.own.mask_GCN.shape[1]
        block_GMD = self.layout.own.packing.pad(own_TD)
        rows, parts = [context_TD], self.layout.late
        for own, block_part in zip(parts, block_GMD.split([len(own.request_G) for own in parts]), strict=True):
            query_GQD = context_RSD.narrow(1, own.first_query, own.queries).index_select(0, own.request_G)
            query_GCQD = query_GQD[:, None].expand(-1, C, -1, -1)
            own_GCND = torch.cat([query_GCQD, block_part.unflatten(1, (C, -1))], dim=2)
            rows.append(own.packing.pack(own_GCND.flatten(1, 2)))
        return torch.cat(rows), type(self)(self.backbone, self.contexts, self.layout, parts, x_TD)

    def memory(self, x_TD: Tensor) -> list[Memory]:
        """What the decoder attends to."""
        context_TD, *own_TD = x_TD.split(self.tokens)
        context_RSD = self.contexts.pad(context_TD)
        return [part.memory(context_RSD, own) for part, own in zip(self.parts, own_TD, strict=True)]


class _OwnAttention:
    """Some groups' part of shared attention."""

    def __init__(self, backbone: Backbone, own: OwnTokens, bias_HMM: Tensor, x_TD: Tensor) -> None:
        self.backbone, self.own = backbone, own
        S = own.context_mask_GS.shape[1]
        self.own_bias_GCN = _mask_bias(own.mask_GCN, x_TD)
        self.context_bias_GS = _mask_bias(own.context_mask_GS, x_TD)
        bias_HNM = own.from_places(bias_HMM, 1)
        self.to_context_GHCNS = bias_HNM[:, None, :, :S] + self.context_bias_GS[:, None, None, None, :]
        self.to_own_GHCNN = own.from_places(bias_HNM, 2)[:, None] + self.own_bias_GCN[:, None, :, None, :]

    def __call__(self, own_TIK: Sequence[Tensor], context_RHSK: Sequence[Tensor]) -> Tensor:
        """[T, H, K] of the tokens, given their queries, keys and values, and keys and values of all contexts."""
        packing, (C, N), S = self.own.packing, self.own.mask_GCN.shape[1:], self.context_bias_GS.shape[1]
        # M = C x N queries of a group read its context's keys and values once.
        query_GHMK, key_GHMK, value_GHMK = (packing.pad(x).transpose(1, 2) for x in own_TIK)
        query_GHCNK, key_GHCNK, value_GHCNK = (x.unflatten(2, (C, N)) for x in (query_GHMK, key_GHMK, value_GHMK))
        key_GHSK, value_GHSK = (x.index_select(0, self.own.request_G) for x in context_RHSK)
        seen_GHCNS = (query_GHMK @ key_GHSK.transpose(-1, -2)).unflatten(2, (C, N)) + self.to_context_GHCNS
        own_GHCNN = query_GHCNK @ key_GHCNK.transpose(-1, -2) + self.to_own_GHCNN
        weight_GHCNX = self.backbone.dropped(torch.cat([seen_GHCNS, own_GHCNN], dim=-1).softmax(-1))
        out_GHCNK = weight_GHCNX[..., S:] @ value_GHCNK
        out_GHMK = out_GHCNK.flatten(2, 3) + weight_GHCNX[..., :S].flatten(2, 3) @ value_GHSK
        return packing.pack(out_GHMK.transpose(1, 2))

    def memory(self, context_RSD: Tensor, own_TD: Tensor) -> Memory:
        """What the decoder attends to."""
        context_GSD = context_RSD.index_select(0, self.own.request_G)
        own_GCND = self.own.packing.pad(own_TD).unflatten(1, self.own.mask_GCN.shape[1:])
        return Memory(context_GSD, self.context_bias_GS, own_GCND, self.own_bias_GCN)


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


def _mask_bias(mask_GN: Tensor, like: Tensor) -> Tensor:
    """0 where the mask is True, else half the lowest number: a row without any visible key stays finite.

    Half, because fused attention multiplies it by the logarithm of e to base 2.
    """
    return torch.zeros(mask_GN.shape, dtype=like.dtype, device=like.device).masked_fill(
        ~mask_GN, torch.finfo(like.dtype).min / 2
    )
