"""T5 that answers with one token, over transformers' weights.

Two ways to encode a group's prompts. `joint` is the paper's: each candidate's prompt is a sequence of its own in which
every token sees every other. `shared` lets the context (instruction, query) see only itself, and each candidate's block
see the context and itself, at the positions that it would have alone: the context is encoded once a group, and a group
gives exactly what its candidates give one at a time under the same mask.

Only one answer position is decoded, so the decoder needs neither a causal mask nor a cache: its self attention over a
single position is the output projection of that position's value.

Dimensions: G groups, C candidates, S context tokens, P block tokens, N = S + P, D width, H heads, K width of a head,
V vocabulary, B any batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import T5ForConditionalGeneration

Result = TypeVar("Result")


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to. `joint` keeps the context inside each candidate's own sequence."""

    context_GSD: Tensor | None
    context_mask_GS: Tensor | None
    own_GCND: Tensor  # N = P in shared, S + P in joint scoring
    own_mask_GN: Tensor


class Backbone(nn.Module):
    """The T5 forward pass for groups of candidates."""

    def __init__(self, t5: T5ForConditionalGeneration, scoring: Literal["joint", "shared"]) -> None:
        super().__init__()
        if t5.config.dense_act_fn == "gelu_new":  # transformers computes it in eight passes
            for block in (*t5.encoder.block, *t5.decoder.block):
                block.layer[-1].DenseReluDense.act = nn.GELU(approximate="tanh")
        self.t5 = t5
        self.scoring = scoring
        self.dropout = t5.config.dropout_rate
        self.heads = t5.config.num_heads
        self.recompute = False  # blocks keep only their inputs for the backward pass, which computes them again

    @property
    def width(self) -> int:
        """D."""
        return self.t5.config.d_model

    def embed(self, token_BN: Tensor) -> Tensor:
        """Token embeddings [B, N, D]."""
        return self.t5.shared(token_BN)

    def forward(
        self,
        context_GSD: Tensor,
        context_mask_GS: Tensor,
        block_GCPD: Tensor,
        block_mask_GP: Tensor,
        answers: Tensor | None = None,
    ) -> Tensor:
        """Logits of the answer's first token for each candidate.

        Args:
            context_GSD: embedded contexts, padded on the left.
            context_mask_GS: True at tokens.
            block_GCPD: embedded blocks.
            block_mask_GP: True at tokens and visible slots.
            answers: token ids [A] whose logits are wanted; None for the whole vocabulary.

        Returns:
            [G, C, V], or [G, C, A].
        """
        encode = self._encode_joint if self.scoring == "joint" else self._encode_shared
        return self._decode(encode(context_GSD, context_mask_GS, block_GCPD, block_mask_GP), answers)

    def _encode_joint(
        self, context_GSD: Tensor, context_mask_GS: Tensor, block_GCPD: Tensor, block_mask_GP: Tensor
    ) -> Memory:
        G, C, _, D = block_GCPD.shape
        encoder = self.t5.encoder
        mask_GN = torch.cat([context_mask_GS, block_mask_GP], dim=1)
        N = mask_GN.shape[1]
        x_BND = torch.cat([context_GSD[:, None].expand(-1, C, -1, -1), block_GCPD], dim=2).view(G * C, N, D)
        bias_HNN = self._position_bias(N, x_BND)
        bias_BHNN = (bias_HNN + _mask_bias(mask_GN, x_BND)[:, None, None, :]).repeat_interleave(C, dim=0)
        x_BND = encoder.dropout(x_BND)
        for block in encoder.block:
            x_BND = self._run(self._joint_block, block, x_BND, bias_BHNN)
        x_BND = encoder.dropout(encoder.final_layer_norm(x_BND))
        return Memory(None, None, x_BND.view(G, C, N, D), mask_GN)

    def _joint_block(self, block: Any, x_BND: Tensor, bias_BHNN: Tensor) -> Tensor:
        attention, normed_BND = block.layer[0].SelfAttention, block.layer[0].layer_norm(x_BND)
        out_BND = self._attend(
            attention,
            self._split(attention.q(normed_BND)),
            self._split(attention.k(normed_BND)),
            self._split(attention.v(normed_BND)),
            bias_BHNN,
        )
        return block.layer[-1](x_BND + block.layer[0].dropout(out_BND))

    def _encode_shared(
        self, context_GSD: Tensor, context_mask_GS: Tensor, block_GCPD: Tensor, block_mask_GP: Tensor
    ) -> Memory:
        _, C, P, _ = block_GCPD.shape
        S = context_GSD.shape[1]
        encoder = self.t5.encoder
        bias_HNN = self._position_bias(S + P, block_GCPD)
        context_bias_GHSS = bias_HNN[:, :S, :S] + _mask_bias(context_mask_GS, context_GSD)[:, None, None, :]
        # [G, H, 1, P, S] and [G, H, 1, P, P]: what a block sees of the context and of itself, for all its candidates
        to_context_GHCPS = (bias_HNN[:, S:, :S] + _mask_bias(context_mask_GS, context_GSD)[:, None, None, :])[
            :, :, None
        ]
        to_own_GHCPP = (bias_HNN[:, S:, S:] + _mask_bias(block_mask_GP, block_GCPD)[:, None, None, :])[:, :, None]
        x_GSD, y_GMD = encoder.dropout(context_GSD), encoder.dropout(block_GCPD).flatten(1, 2)
        for block in encoder.block:
            x_GSD, y_GMD = self._run(
                self._shared_block, block, x_GSD, y_GMD, context_bias_GHSS, to_context_GHCPS, to_own_GHCPP
            )
        x_GSD = encoder.dropout(encoder.final_layer_norm(x_GSD))
        y_GMD = encoder.dropout(encoder.final_layer_norm(y_GMD))
        return Memory(x_GSD, context_mask_GS, y_GMD.unflatten(1, (C, P)), block_mask_GP)

    def _shared_block(
        self,
        block: Any,
        x_GSD: Tensor,
        y_GMD: Tensor,
        context_bias_GHSS: Tensor,
        to_context_GHCPS: Tensor,
        to_own_GHCPP: Tensor,
    ) -> tuple[Tensor, Tensor]:
        S, P = x_GSD.shape[1], to_own_GHCPP.shape[-1]
        C = y_GMD.shape[1] // P
        attention, norm = block.layer[0].SelfAttention, block.layer[0].layer_norm
        normed_GSD, normed_GMD = norm(x_GSD), norm(y_GMD)
        key_GHSK, value_GHSK = self._split(attention.k(normed_GSD)), self._split(attention.v(normed_GSD))
        context_GSD = self._attend(
            attention, self._split(attention.q(normed_GSD)), key_GHSK, value_GHSK, context_bias_GHSS
        )
        query_GHMK = self._split(attention.q(normed_GMD))
        own_key_GHCPK = self._split(attention.k(normed_GMD)).unflatten(2, (C, P))
        own_value_GHCPK = self._split(attention.v(normed_GMD)).unflatten(2, (C, P))
        seen_GHCPS = (query_GHMK @ key_GHSK.transpose(-1, -2)).unflatten(2, (C, P)) + to_context_GHCPS
        own_GHCPP = query_GHMK.unflatten(2, (C, P)) @ own_key_GHCPK.transpose(-1, -2) + to_own_GHCPP
        weight_GHCPN = F.dropout(torch.cat([seen_GHCPS, own_GHCPP], dim=-1).softmax(-1), self.dropout, self.training)
        out_GHCPK = weight_GHCPN[..., S:] @ own_value_GHCPK
        out_GHMK = out_GHCPK.flatten(2, 3) + weight_GHCPN[..., :S].flatten(2, 3) @ value_GHSK
        block_GMD = attention.o(out_GHMK.transpose(1, 2).flatten(2))
        return (
            block.layer[-1](x_GSD + block.layer[0].dropout(context_GSD)),
            block.layer[-1](y_GMD + block.layer[0].dropout(block_GMD)),
        )

    def _decode(self, memory: Memory, answers: Tensor | None) -> Tensor:
        decoder = self.t5.decoder
        G, C = memory.own_GCND.shape[:2]
        start = torch.full((1, 1), self.t5.config.decoder_start_token_id, device=memory.own_GCND.device)
        x_GCD = decoder.dropout(self.embed(start)).expand(G, C, -1)
        for block in decoder.block:
            x_GCD = self._run(self._decoder_block, block, x_GCD, memory)
        x_GCD = decoder.dropout(decoder.final_layer_norm(x_GCD))
        if self.t5.config.scale_decoder_outputs:
            x_GCD = x_GCD * self.width**-0.5
        return self.t5.lm_head(x_GCD) if answers is None else F.linear(x_GCD, self.t5.lm_head.weight[answers])

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
        return block.layer[-1](x_GCD)

    def _run(self, compute: Callable[..., Result], *inputs: Any) -> Result:
        """`compute(*inputs)`, a block."""
        if not (self.recompute and torch.is_grad_enabled()):
            return compute(*inputs)

        def computed(*inputs: Any) -> Any:
            output: Any = compute(*inputs)
            return _ComputeAgain.apply(output)[0] if isinstance(output, Tensor) else _ComputeAgain.apply(*output)

        # To the block's end, though its last layers need not be computed again, and without a look at shapes: weights
        # that are sharded over ranks are there only between the hooks before and after a layer.
        return checkpoint(computed, *inputs, use_reentrant=False, determinism_check="none", early_stop=False)

    def _pool(self, query_GCHD: Tensor, memory: Memory) -> Tensor:
        """Mean of the memory [G, C, H, D], weighted by softmax of its products with each query."""
        own_bias_GN = _mask_bias(memory.own_mask_GN, memory.own_GCND)
        score_GCHN = query_GCHD @ memory.own_GCND.transpose(-1, -2) + own_bias_GN[:, None, None]
        if memory.context_GSD is None or memory.context_mask_GS is None:
            return F.dropout(score_GCHN.softmax(-1), self.dropout, self.training) @ memory.own_GCND
        C, S = query_GCHD.shape[1], memory.context_GSD.shape[1]
        seen_GMS = query_GCHD.flatten(1, 2) @ memory.context_GSD.transpose(-1, -2)
        seen_GMS = seen_GMS + _mask_bias(memory.context_mask_GS, memory.context_GSD)[:, None]
        seen_GCHS = seen_GMS.unflatten(1, (C, self.heads))
        weight_GCHX = F.dropout(torch.cat([seen_GCHS, score_GCHN], -1).softmax(-1), self.dropout, self.training)
        from_context_GMD = weight_GCHX[..., :S].flatten(1, 2) @ memory.context_GSD
        return weight_GCHX[..., S:] @ memory.own_GCND + from_context_GMD.unflatten(1, (C, self.heads))

    def _position_bias(self, length: int, like: Tensor) -> Tensor:
        """Relative-position bias [H, N, N] of the encoder, which all its layers share."""
        attention: Any = self.t5.encoder.block[0].layer[0].SelfAttention
        return attention.compute_bias(length, length, device=like.device)[0].to(like.dtype)

    def _split(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(self, attention: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        out_BHNK = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=self.dropout if self.training else 0.0, scale=1.0
        )
        return attention.o(out_BHNK.transpose(1, 2).flatten(2))


class _ComputeAgain(torch.autograd.Function):
    """Identity at a block's end: its backward pass is the first to ask for a tensor that the block did not keep.

    So the whole block is computed again before the backward pass of its first layer begins. In between, the hooks that
    let go of sharded weights after a layer's forward pass would take them from the layer whose gradient is computed.
    """

    @staticmethod
    def forward(ctx: Any, *output: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(output[0])
        return tuple(part.view_as(part) for part in output)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, ...]:
        _ = ctx.saved_tensors
        return gradient


def _mask_bias(mask_GN: Tensor, like: Tensor) -> Tensor:
    """0 where the mask is True, else the lowest finite number: a row without any visible key stays finite."""
    return torch.zeros(mask_GN.shape, dtype=like.dtype, device=like.device).masked_fill(
        ~mask_GN, torch.finfo(like.dtype).min
    )
