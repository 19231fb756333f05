"""T5 that answers with one token.

Two ways to encode a group's prompts. `joint` is the paper's: each candidate's prompt is a sequence of its own in which
every token sees every other. `shared` lets the context (instruction, query) see only itself, and each candidate's block
see the context and itself, at the positions that it would have alone: a context is encoded once for all that share it,
and a group gives exactly what its candidates give one at a time under the same mask.

Layers that look at one token at a time work on the tokens of all prompts in one row, without padding. Only one answer
position is decoded, so the decoder needs neither a causal mask nor a cache: its self attention over a single position
is the output projection of that position's value.

Dimensions: G groups, C candidates, R distinct requests, S context tokens, P block tokens, N a candidate's own tokens (P
in shared, S + P in joint scoring), T tokens of all prompts, D width, H heads, K width of a head, V vocabulary, B any
batch, I tokens of one part of T, M = C N, X = S + P.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gensr_dist.model.attention import attend, mask_bias
from gensr_dist.model.config import Scoring
from gensr_dist.model.dropout import dropout
from gensr_dist.model.prompt_layout import PromptLayout
from gensr_dist.model.t5_modules import T5


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to: of the context, in shared scoring, and of each candidate's own tokens."""

    context_GSD: Tensor | None
    context_bias_GS: Tensor | None  # 0 at tokens, else the lowest number
    own_GCND: Tensor
    own_bias_GCN: Tensor


class Backbone(nn.Module):
    """The T5 forward pass for groups of candidates."""

    def __init__(self, t5: T5, scoring: Scoring) -> None:
        super().__init__()
        self.t5: Any = t5
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

    def compile_blocks(self) -> None:
        """Put the blocks, in which most of the time goes, under torch.compile.

        A program serves all blocks of a stack and batches of any shape, but a batch with a size of 1 where others had
        more, or with padding where they had none, needs another. Each takes a CPU some ten seconds to make.
        """
        import torch.fx.experimental._config  # answering does without it

        # Else sizes that are equal by chance in the first batch would have to be equal in all.
        torch.fx.experimental._config.use_duck_shape = False
        for block in ("_encoder_block", "_decoder_block"):
            setattr(self, block, torch.compile(getattr(self, block), dynamic=True))

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
        return self._decode(self.encode(context_RSD, block_GCPD, layout), start_D, answers)

    def encode(self, context_RSD: Tensor, block_GCPD: Tensor, layout: PromptLayout) -> Memory:
        """What the encoder makes of prompts; arguments as `forward`."""
        attention: _JointAttention | _SharedAttention
        if self.scoring == "shared":
            assert layout.contexts is not None
            own_GMD = block_GCPD.flatten(1, 2)
            x_TD = torch.cat([layout.contexts.pack(context_RSD), layout.own.pack(own_GMD)])
            attention = _SharedAttention(self, layout, x_TD)
        else:
            context_GSD = context_RSD.index_select(0, layout.request_G)
            context_GCSD = context_GSD[:, None].expand(-1, block_GCPD.shape[1], -1, -1)
            x_TD = layout.own.pack(torch.cat([context_GCSD, block_GCPD], dim=2).flatten(1, 2))
            attention = _JointAttention(self, layout, x_TD)
        return attention.memory(self._encode(x_TD, attention))

    def decode(self, memory: Memory, start_D: Tensor) -> Tensor:
        """The decoder's state at its first position [G, C, D], of which the head makes logits."""
        decoder = self.t5.decoder
        G, C = memory.own_GCND.shape[:2]
        x_GCD = decoder.dropout(start_D.expand(G, C, -1).contiguous())  # one compiled program for all layers
        for block in decoder.block:
            x_GCD = self._run(self._decoder_block, block, x_GCD, memory)
        return self.scaled(decoder.dropout(decoder.final_layer_norm(x_GCD)))

    def scaled(self, state_BD: Tensor) -> Tensor:
        """The decoder's output as the head expects it."""
        return state_BD * self.width**-0.5 if self.t5.config.scale_decoder_outputs else state_BD

    def _encode(self, x_TD: Tensor, attention: "_JointAttention | _SharedAttention") -> Tensor:
        encoder = self.t5.encoder
        x_TD = encoder.dropout(x_TD)
        for block in encoder.block:
            x_TD = self._run(self._encoder_block, block, x_TD, attention)
        return encoder.dropout(encoder.final_layer_norm(x_TD))

    def _encoder_block(self, block: Any, x_TD: Tensor, attention: "_JointAttention | _SharedAttention") -> Tensor:
        layer = block.layer[0]
        weights, normed_TD = layer.SelfAttention, layer.layer_norm(x_TD)
        query_THK, key_THK, value_THK = (
            linear(normed_TD).unflatten(-1, (self.heads, -1)) for linear in (weights.q, weights.k, weights.v)
        )
        out_THK = attention(query_THK, key_THK, value_THK)
        return _feed_forward(block.layer[-1], x_TD + layer.dropout(weights.o(out_THK.flatten(1))))

    def _decode(self, memory: Memory, start_D: Tensor, answers: Tensor | None) -> Tensor:
        return self.t5.lm_head(self.decode(memory, start_D), answers)

    def _decoder_block(self, block: Any, x_GCD: Tensor, memory: Memory) -> Tensor:
        attention = block.layer[0].SelfAttention
        value_GCD = attention.o(attention.v(block.layer[0].layer_norm(x_GCD)))
        x_GCD = x_GCD + block.layer[0].dropout(value_GCD)
        cross = block.layer[1].EncDecAttention
        # As in the soft filter: neither keys nor values of the memory are formed, for few queries read it.
        query_GCHK = cross.q(block.layer[1].layer_norm(x_GCD)).unflatten(-1, (self.heads, -1))
        absorbed_GCHD = torch.einsum("gchk,hkd->gchd", query_GCHK, cross.k.weight.unflatten(0, (self.heads, -1)))
        pooled_GCHD = self._pool(absorbed_GCHD, memory)
        value_HKD = cross.v.weight.unflatten(0, (self.heads, -1))
        out_GCHK = torch.einsum("gchd,hkd->gchk", pooled_GCHD, value_HKD)
        x_GCD = x_GCD + block.layer[1].dropout(cross.o(out_GCHK.flatten(2)))
        return _feed_forward(block.layer[-1], x_GCD)

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
        attention = self.t5.encoder.block[0].layer[0].SelfAttention
        # Fused attention refuses a bias whose last dimension is not the innermost.
        return attention.position_bias(length).to(like.dtype).contiguous()

    def attend(self, query_BHNK: Tensor, key_BHNK: Tensor, value_BHNK: Tensor, bias: Tensor) -> Tensor:
        """Attention of whole sequences, unscaled as T5's; [B, H, N, K]."""
        return attend(query_BHNK, key_BHNK, value_BHNK, bias, scale=1.0, dropout_rate=self._rate)

    def dropped(self, weight: Tensor) -> Tensor:
        """Attention weights after dropout, in training."""
        return dropout(weight, self._rate)

    @property
    def _rate(self) -> float:
        return self.dropout if self.training else 0.0

    def _run(self, compute: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`compute(*inputs)`, a block."""
        if not (self.recompute and torch.is_grad_enabled()):
            return compute(*inputs)

        def computed(*inputs: Any) -> Tensor:
            return _ComputeAgain.apply(compute(*inputs))

        # To the block's end, though its last layers need not be computed again, and without a look at shapes: weights
        # that are sharded over ranks are there only between the hooks before and after a layer.
        return checkpoint(computed, *inputs, use_reentrant=False, determinism_check="none", early_stop=False)


def _feed_forward(layer: Any, x_BD: Tensor) -> Tensor:
    return x_BD + layer.dropout(layer.DenseReluDense(layer.layer_norm(x_BD)))


class _JointAttention:
    """Each candidate's prompt sees the whole of itself."""

    def __init__(self, backbone: Backbone, layout: PromptLayout, x_TD: Tensor) -> None:
        self.backbone = backbone
        self.layout = layout
        N = layout.own_mask_GCN.shape[2]
        self.own_bias_GCN = mask_bias(layout.own_mask_GCN, x_TD)
        self.bias_BHNN = backbone.position_bias(N, x_TD) + self.own_bias_GCN.flatten(0, 1)[:, None, None, :]

    def __call__(self, query_THK: Tensor, key_THK: Tensor, value_THK: Tensor) -> Tensor:
        """[T, H, K]."""
        G, C, N = self.layout.own_mask_GCN.shape
        query_BHNK, key_BHNK, value_BHNK = (
            self.layout.own.pad(x).view(G * C, N, *x.shape[1:]).transpose(1, 2) for x in (query_THK, key_THK, value_THK)
        )
        out_BHNK = self.backbone.attend(query_BHNK, key_BHNK, value_BHNK, self.bias_BHNN)
        return self.layout.own.pack(out_BHNK.transpose(1, 2).reshape(G, C * N, *query_THK.shape[1:]))

    def memory(self, x_TD: Tensor) -> Memory:
        """What the decoder attends to."""
        own_GCND = self.layout.own.pad(x_TD).unflatten(1, self.layout.own_mask_GCN.shape[1:])
        return Memory(None, None, own_GCND, self.own_bias_GCN)


class _SharedAttention:
    """Contexts see themselves; each candidate's block sees its context and itself."""

    def __init__(self, backbone: Backbone, layout: PromptLayout, x_TD: Tensor) -> None:
        assert layout.contexts is not None
        self.backbone, self.layout, self.contexts = backbone, layout, layout.contexts
        S, P = layout.context_mask_RS.shape[1], layout.own_mask_GCN.shape[2]
        bias_HNN = backbone.position_bias(S + P, x_TD)
        context_bias_RS = mask_bias(layout.context_mask_RS, x_TD)
        self.own_bias_GCN = mask_bias(layout.own_mask_GCN, x_TD)
        self.context_bias_GS = context_bias_RS[layout.request_G]
        self.among_context_RHSS = bias_HNN[:, :S, :S] + context_bias_RS[:, None, None, :]
        self.to_context_GHCPS = bias_HNN[:, None, S:, :S] + self.context_bias_GS[:, None, None, None, :]
        self.to_own_GHCPP = bias_HNN[:, None, S:, S:] + self.own_bias_GCN[:, None, :, None, :]

    def __call__(self, query_THK: Tensor, key_THK: Tensor, value_THK: Tensor) -> Tensor:
        """[T, H, K]."""
        own, S = self.layout.own, self.layout.context_mask_RS.shape[1]
        C, P = self.layout.own_mask_GCN.shape[1:]
        parts = (self.contexts.tokens, own.tokens)
        context_TIK, own_TIK = zip(*(x.split(parts) for x in (query_THK, key_THK, value_THK)), strict=True)
        query_RHSK, key_RHSK, value_RHSK = (self.contexts.pad(x).transpose(1, 2) for x in context_TIK)
        context_RHSK = self.backbone.attend(query_RHSK, key_RHSK, value_RHSK, self.among_context_RHSS)
        # M = C x P queries of a group read its context's keys and values once.
        query_GHMK, key_GHMK, value_GHMK = (own.pad(x).transpose(1, 2) for x in own_TIK)
        query_GHCPK, key_GHCPK, value_GHCPK = (x.unflatten(2, (C, P)) for x in (query_GHMK, key_GHMK, value_GHMK))
        key_GHSK, value_GHSK = (x.index_select(0, self.layout.request_G) for x in (key_RHSK, value_RHSK))
        seen_GHCPS = (query_GHMK @ key_GHSK.transpose(-1, -2)).unflatten(2, (C, P)) + self.to_context_GHCPS
        own_GHCPP = query_GHCPK @ key_GHCPK.transpose(-1, -2) + self.to_own_GHCPP
        weight_GHCPN = self.backbone.dropped(torch.cat([seen_GHCPS, own_GHCPP], dim=-1).softmax(-1))
        out_GHCPK = weight_GHCPN[..., S:] @ value_GHCPK
        out_GHMK = out_GHCPK.flatten(2, 3) + weight_GHCPN[..., :S].flatten(2, 3) @ value_GHSK
        return torch.cat([self.contexts.pack(context_RHSK.transpose(1, 2)), own.pack(out_GHMK.transpose(1, 2))])

    def memory(self, x_TD: Tensor) -> Memory:
        """What the decoder attends to."""
        context_TD, own_TD = x_TD.split((self.contexts.tokens, self.layout.own.tokens))
        context_GSD = self.contexts.pad(context_TD).index_select(0, self.layout.request_G)
        own_GCND = self.layout.own.pad(own_TD).unflatten(1, self.layout.own_mask_GCN.shape[1:])
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
