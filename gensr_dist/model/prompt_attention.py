"""Which tokens of a batch's prompts see which, in the encoder and from the decoder; see `PromptLayout`.

Dimensions: G groups, C candidates, R distinct requests, S context tokens, N tokens that a candidate has for itself, M =
C x N of a group or, in biases, the S + P places of a whole prompt, X = S + N seen tokens, T tokens of all prompts, I
their queries, keys and values, D width, H heads, K width of a head, B any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from typing_extensions import Self

from gensr_dist.model.packing import Packing
from gensr_dist.model.prompt_layout import OwnTokens, PromptLayout


@dataclass(frozen=True)
class T5Attention:
    """What all of T5's attention has in common."""

    biased: Any  # transformers' layer that has the encoder's table of relative positions
    dropout: float  # 0 outside of training

    def position_bias(self, length: int, like: Tensor) -> Tensor:
        """Relative-position bias [H, N, N] of the encoder, which all its layers share."""
        # Fused attention refuses a bias whose last dimension is not the innermost.
        return self.biased.compute_bias(length, length, device=like.device)[0].to(like.dtype).contiguous()

    def attend(self, query_BHNK: Tensor, key_BHNK: Tensor, value_BHNK: Tensor, bias: Tensor) -> Tensor:
        """Attention of whole sequences, unscaled as T5's; [B, H, N, K]."""
        return F.scaled_dot_product_attention(
            query_BHNK, key_BHNK, value_BHNK, attn_mask=bias, dropout_p=self.dropout, scale=1.0
        )

    def dropped(self, weight: Tensor) -> Tensor:
        """Attention weights after dropout."""
        return F.dropout(weight, self.dropout, self.dropout > 0)


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to for some groups: their contexts, in shared scoring, and candidates' own tokens."""

    t5: T5Attention
    context_GSD: Tensor | None
    context_bias_GS: Tensor | None  # 0 at tokens, else the lowest number
    own_GCND: Tensor
    own_bias_GCN: Tensor

    def pool(self, query_GCHD: Tensor) -> Tensor:
        """Mean of the memory [G, C, H, D], weighted by softmax of its products with each query."""
        score_GCHN = query_GCHD @ self.own_GCND.transpose(-1, -2) + self.own_bias_GCN[:, :, None]
        if self.context_GSD is None or self.context_bias_GS is None:
            return self.t5.dropped(score_GCHN.softmax(-1)) @ self.own_GCND
        (C, H), S = query_GCHD.shape[1:3], self.context_GSD.shape[1]
        seen_GMS = query_GCHD.flatten(1, 2) @ self.context_GSD.transpose(-1, -2) + self.context_bias_GS[:, None]
        weight_GCHX = self.t5.dropped(torch.cat([seen_GMS.unflatten(1, (C, H)), score_GCHN], -1).softmax(-1))
        from_context_GMD = weight_GCHX[..., :S].flatten(1, 2) @ self.context_GSD
        return weight_GCHX[..., S:] @ self.own_GCND + from_context_GMD.unflatten(1, (C, H))


class JointAttention:
    """Each candidate's prompt sees the whole of itself."""

    def __init__(self, t5: T5Attention, own: OwnTokens, x_TD: Tensor) -> None:
        self.t5, self.own = t5, own
        self.own_bias_GCN = _mask_bias(own.mask_GCN, x_TD)
        bias_HNN = t5.position_bias(own.mask_GCN.shape[2], x_TD)
        self.bias_BHNN = bias_HNN + self.own_bias_GCN.flatten(0, 1)[:, None, None, :]

    def __call__(self, query_THK: Tensor, key_THK: Tensor, value_THK: Tensor) -> Tensor:
        """[T, H, K]."""
        packing, (G, C, N) = self.own.packing, self.own.mask_GCN.shape
        query_BHNK, key_BHNK, value_BHNK = (
            packing.pad(x).view(G * C, N, *x.shape[1:]).transpose(1, 2) for x in (query_THK, key_THK, value_THK)
        )
        out_BHNK = self.t5.attend(query_BHNK, key_BHNK, value_BHNK, self.bias_BHNN)
        return packing.pack(out_BHNK.transpose(1, 2).reshape(G, C * N, *query_THK.shape[1:]))

    def late(self, x_TD: Tensor) -> tuple[Tensor, Self]:
        """The late layers are like the others."""
        return x_TD, self

    def memory(self, x_TD: Tensor) -> list[Memory]:
        """What the decoder attends to."""
        own_GCND = self.own.packing.pad(x_TD).unflatten(1, self.own.mask_GCN.shape[1:])
        return [Memory(self.t5, None, None, own_GCND, self.own_bias_GCN)]


class SharedAttention:
    """Contexts see themselves; candidates' own tokens see themselves and their context."""

    def __init__(
        self, t5: T5Attention, contexts: Packing, layout: PromptLayout, parts: tuple[OwnTokens, ...], x_TD: Tensor
    ) -> None:
        self.t5, self.contexts, self.layout = t5, contexts, layout
        S, P = layout.context_mask_RS.shape[1], layout.own.mask_GCN.shape[2]
        bias_HMM = t5.position_bias(S + P, x_TD)
        self.among_context_RHSS = bias_HMM[:, :S, :S] + _mask_bias(layout.context_mask_RS, x_TD)[:, None, None, :]
        self.parts = [_OwnAttention(t5, own, bias_HMM, x_TD) for own in parts]
        self.tokens = [contexts.tokens, *(own.packing.tokens for own in parts)]

    def __call__(self, query_THK: Tensor, key_THK: Tensor, value_THK: Tensor) -> Tensor:
        """[T, H, K]."""
        split = [x.split(self.tokens) for x in (query_THK, key_THK, value_THK)]
        context_TIK, *own_TIK = zip(*split, strict=True)
        query_RHSK, key_RHSK, value_RHSK = (self.contexts.pad(x).transpose(1, 2) for x in context_TIK)
        out_RHSK = self.t5.attend(query_RHSK, key_RHSK, value_RHSK, self.among_context_RHSS)
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
        return torch.cat(rows), type(self)(self.t5, self.contexts, self.layout, parts, x_TD)

    def memory(self, x_TD: Tensor) -> list[Memory]:
        """What the decoder attends to."""
        context_TD, *own_TD = x_TD.split(self.tokens)
        context_RSD = self.contexts.pad(context_TD)
        return [part.memory(context_RSD, own) for part, own in zip(self.parts, own_TD, strict=True)]


class _OwnAttention:
    """Some groups' part of shared attention."""

    def __init__(self, t5: T5Attention, own: OwnTokens, bias_HMM: Tensor, x_TD: Tensor) -> None:
        self.t5, self.own = t5, own
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
        weight_GHCNX = self.t5.dropped(torch.cat([seen_GHCNS, own_GHCNN], dim=-1).softmax(-1))
        out_GHCNK = weight_GHCNX[..., S:] @ value_GHCNK
        out_GHMK = out_GHCNK.flatten(2, 3) + weight_GHCNX[..., :S].flatten(2, 3) @ value_GHSK
        return packing.pack(out_GHMK.transpose(1, 2))

    def memory(self, context_RSD: Tensor, own_TD: Tensor) -> Memory:
        """What the decoder attends to."""
        context_GSD = context_RSD.index_select(0, self.own.request_G)
        own_GCND = self.own.packing.pad(own_TD).unflatten(1, self.own.mask_GCN.shape[1:])
        return Memory(self.t5, context_GSD, self.context_bias_GS, own_GCND, self.own_bias_GCN)


def _mask_bias(mask_GN: Tensor, like: Tensor) -> Tensor:
    """0 where the mask is True, else half the lowest number: a row without any visible key stays finite.

    Half, because fused attention multiplies it by the logarithm of e to base 2.
    """
    return torch.zeros(mask_GN.shape, dtype=like.dtype, device=like.device).masked_fill(
        ~mask_GN, torch.finfo(like.dtype).min / 2
    )
