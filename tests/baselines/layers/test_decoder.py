"""The decoder block against torch's own layer with the same weights, in float64."""

import torch
from torch import nn

from gensr_dist.baselines.layers.attention import MultiHeadAttention
from gensr_dist.baselines.layers.decoder import DecoderBlock
from gensr_dist.baselines.layers.encoder import causal_mask, padding_mask
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, learnt, masks, normal

G, L, M, D, INNER = 4, 3, 5, 6, 7


def block_of() -> DecoderBlock:
    return learnt(DecoderBlock(D, 2, INNER, 0.0))


def torchs(block: DecoderBlock) -> nn.TransformerDecoderLayer:
    def copy(theirs: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())

    layer = nn.TransformerDecoderLayer(D, 2, INNER, 0.0, batch_first=True).double().eval()
    with torch.no_grad():
        copy(layer.self_attn, block.self_attention)
        copy(layer.multihead_attn, block.cross_attention)
    pairs = [(layer.norm1, block.self_norm), (layer.norm2, block.cross_norm), (layer.norm3, block.feed_forward_norm)]
    pairs += [(layer.linear1, block.feed_forward[0]), (layer.linear2, block.feed_forward[3])]
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    return layer


@torch.no_grad()
def test_matches_torchs_layer() -> None:
    block = block_of()
    input_GLD, memory_GMD, real_GM = normal(1, G, L, D), normal(2, G, M, D), masks(3, G, M)
    real_GM[0, 1] = True  # torch's knows no empty memory
    expected_GLD = torchs(block)(input_GLD, memory_GMD, tgt_mask=~causal_mask(L)[0], memory_key_padding_mask=~real_GM)
    assert_close(block(input_GLD, memory_GMD, causal_mask(L), padding_mask(real_GM)), expected_GLD)


@torch.no_grad()
def test_an_empty_memory_adds_nothing() -> None:
    block = block_of()
    input_GLD, memory_GMD = normal(1, G, L, D), normal(2, G, M, D)
    found_GLD = block(input_GLD, memory_GMD, causal_mask(L), torch.zeros(1, 1, M, dtype=torch.bool))
    nn.init.zeros_(block.cross_attention.out.weight)
    nn.init.zeros_(block.cross_attention.out.bias)
    assert_close(found_GLD, block(input_GLD, memory_GMD, causal_mask(L), torch.ones(1, 1, M, dtype=torch.bool)))


@torch.no_grad()
def test_padding_and_other_rows_do_not_matter() -> None:
    block = block_of()
    input_GLD, memory_GMD = normal(1, G, L, D), normal(2, G, M, D)
    real_GL, real_GM = masks(3, G, L), masks(4, G, M)
    found_GLD = block(input_GLD, memory_GMD, padding_mask(real_GL), padding_mask(real_GM))
    changed_GLD = input_GLD.masked_fill(~real_GL[..., None], FAR)
    changed_GMD = memory_GMD.masked_fill(~real_GM[..., None], FAR)
    other_GLD = block(changed_GLD, changed_GMD, padding_mask(real_GL), padding_mask(real_GM))
    assert torch.equal(other_GLD[real_GL], found_GLD[real_GL])
    for g in range(1, G):
        l, m = int(real_GL[g].sum()), max(int(real_GM[g].sum()), 1)  # noqa: E741
        row = slice(g, g + 1)
        given = input_GLD[row, :l], memory_GMD[row, :m], padding_mask(real_GL[row, :l]), padding_mask(real_GM[row, :m])
        assert_close(block(*given)[0], found_GLD[g, :l])


def test_a_batch_with_empty_rows_trains() -> None:
    block = block_of()
    input_GLD, memory_GMD = normal(1, G, L, D).requires_grad_(), normal(2, G, M, D).requires_grad_()
    out_GLD = block(input_GLD, memory_GMD, padding_mask(masks(3, G, L)), padding_mask(masks(4, G, M)))
    assert_trains(block, out_GLD, "key.bias")
    assert torch.isfinite(input_GLD.grad).all()
    assert (memory_GMD.grad[0] == 0).all()
    assert (memory_GMD.grad[-1] != 0).any()
