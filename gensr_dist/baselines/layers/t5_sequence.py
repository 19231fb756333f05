"""What T5 says of given texts as answers: the log-probability of each of their tokens, in one pass of the decoder.

Dimensions: G groups, C candidates, K tokens of an answer, M = C K, N places of what was read, D width, H heads, E width
of a head, T tokens of all answers, V vocabulary, B any batch.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.baselines.layers.precision import wide
from gensr_dist.model.attention import mask_bias
from gensr_dist.model.backbone import Backbone, Memory
from gensr_dist.model.t5_modules import Attention, distance_buckets

_LOGITS = 1 << 24  # at a time


def log_likelihood(backbone: Backbone, memory: Memory, token_GCK: Tensor) -> Tensor:
    """Log of the probability of each token after those before it, [G, C, K]; 0 at padding.

    Args:
        backbone: of the joint scoring.
        memory: of one sequence a group.
        token_GCK: answers, 0 is padding, with whatever ends them.
    """
    before_GCK = F.pad(token_GCK, (1, -1), value=backbone.start)
    state_GCKD = _states(backbone, memory, backbone.embed(before_GCK))
    real_GCK = token_GCK != 0
    state_TD, token_T = state_GCKD[real_GCK], token_GCK[real_GCK]
    table_VD = backbone.t5.lm_head.weight
    parts = zip(*(x.split(max(1, _LOGITS // len(table_VD))) for x in (state_TD, token_T)), strict=True)
    log_T = [-F.cross_entropy(wide(F.linear(state, table_VD)), token, reduction="none") for state, token in parts]
    return state_GCKD.new_zeros(token_GCK.shape).masked_scatter(real_GCK, torch.cat(log_T))


def _states(backbone: Backbone, memory: Memory, x_GCKD: Tensor) -> Tensor:
    """The decoder's states, scaled for the head."""
    decoder = backbone.t5.decoder
    G, C, K, _ = x_GCKD.shape
    memory_GND, seen_bias = memory.own_GCND.squeeze(1), memory.own_bias_GCN[:, :, None]
    bias_HKK = _causal_bias(decoder.block[0].layer[0].SelfAttention, K)
    x_GCKD = decoder.dropout(x_GCKD)
    for block in decoder.block:
        own, seen, dense = block.layer
        normed_BKD = own.layer_norm(x_GCKD).flatten(0, 1)
        x_GCKD = x_GCKD + own.dropout(
            _attended(backbone, own.SelfAttention, normed_BKD, normed_BKD, bias_HKK).unflatten(0, (G, C))
        )
        normed_GMD = seen.layer_norm(x_GCKD).flatten(1, 2)
        x_GCKD = x_GCKD + seen.dropout(
            _attended(backbone, seen.EncDecAttention, normed_GMD, memory_GND, seen_bias).unflatten(1, (C, K))
        )
        x_GCKD = x_GCKD + dense.dropout(dense.DenseReluDense(dense.layer_norm(x_GCKD)))
    return backbone.scaled(decoder.dropout(decoder.final_layer_norm(x_GCKD)))


def _attended(backbone: Backbone, weights: Any, query_BMD: Tensor, key_BND: Tensor, bias: Tensor) -> Tensor:
    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (backbone.heads, -1)).transpose(1, 2)

    query_BHME, key_BHNE, value_BHNE = split(weights.q(query_BMD)), split(weights.k(key_BND)), split(weights.v(key_BND))
    out_BHME = backbone.attend(query_BHME, key_BHNE, value_BHNE, bias)
    return weights.o(out_BHME.transpose(1, 2).flatten(2))


def _causal_bias(attention: Attention, length: int) -> Tensor:
    """Of all pairs of the decoder's positions [H, K, K], each of which sees itself and those before."""
    table = attention.relative_attention_bias.weight
    buckets, farthest = attention.shape.relative_attention_num_buckets, attention.shape.relative_attention_max_distance
    position_K = torch.arange(length, device=table.device)
    offset_KK = position_K[:, None] - position_K
    bias_KKH = table[distance_buckets(offset_KK.clamp_min(0), buckets, farthest)]
    return bias_KKH.permute(2, 0, 1) + mask_bias(offset_KK >= 0, table)
