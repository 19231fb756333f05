"""The history encoder against eq. 3 and 4 in float64: one pre-norm Transformer layer, written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gensr_dist.model.attention import attend
from gensr_dist.model.history import RECENCY_BUCKETS, HistoryEncoder, recency_bucket
from gensr_dist.model.inputs import History


def reference(encoder: HistoryEncoder, x_ND: np.ndarray, recency_N: list[int], behaviour_N: list[int]) -> np.ndarray:
    """E' of one unpadded history."""

    def norm(layer: nn.LayerNorm, x_ND: np.ndarray) -> np.ndarray:
        centred = x_ND - x_ND.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
        return scaled * array(layer.weight) + array(layer.bias)

    def linear(layer: nn.Linear, x_ND: np.ndarray) -> np.ndarray:
        return x_ND @ array(layer.weight).T + array(layer.bias)

    def array(tensor: Tensor) -> np.ndarray:
        return tensor.detach().double().numpy()

    N, D = x_ND.shape
    width = D // encoder.heads
    x_ND = x_ND + array(encoder.recency.weight)[[plain_bucket(r) for r in recency_N]]
    x_ND = x_ND + array(encoder.behaviour.weight)[behaviour_N]
    query_ND, key_ND, value_ND = np.split(
        linear(encoder.query_key_value, norm(encoder.attention_norm, x_ND)), 3, axis=1
    )
    out_ND = np.zeros_like(x_ND)
    for head in range(encoder.heads):
        part = slice(head * width, (head + 1) * width)
        for n in range(N):
            scores = np.array([query_ND[n, part] @ key_ND[m, part] / math.sqrt(width) for m in range(N)])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out_ND[n, part] = sum(weights[m] * value_ND[m, part] for m in range(N))
    x_ND = x_ND + linear(encoder.attention_out, out_ND)
    hidden = linear(encoder.feed_forward[0], norm(encoder.feed_forward_norm, x_ND))
    gelu = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return x_ND + linear(encoder.feed_forward[3], gelu)


def plain_bucket(recency: int) -> int:
    if recency < 16:
        return recency
    return min(31, 16 + int(math.log(recency / 16) / math.log(512 / 16) * 16 + 1e-6))


def encoder_of(width: int, heads: int) -> HistoryEncoder:
    torch.manual_seed(width)
    encoder = HistoryEncoder(width, heads, dropout=0.3).double().eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return encoder


def encode(
    encoder: HistoryEncoder, history_BND: Tensor, recency_BN: Tensor, behaviour_BN: Tensor, mask_BN: Tensor
) -> Tensor:
    """Histories whose padding may lie anywhere."""
    place_BN = torch.arange(1, 1 + mask_BN.numel()).view(mask_BN.shape) * mask_BN
    history = History.of(place_BN, recency_BN, behaviour_BN)
    encoded_BMD = encoder(history_BND.flatten(0, 1)[history.entry_K - 1], history)
    assert (encoded_BMD[~history.mask_GN] == 0).all()
    encoded_BND = torch.zeros_like(history_BND)
    encoded_BND[mask_BN] = encoded_BMD[history.mask_GN]
    return encoded_BND


def inputs(seed: int, B: int, N: int, D: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    history_BND = torch.randn(B, N, D, generator=generator, dtype=torch.float64)
    recency_BN = torch.randint(0, 900, (B, N), generator=generator)
    mask_BN = torch.rand(B, N, generator=generator) < 0.6
    behaviour_BN = torch.randint(1, 4, (B, N), generator=generator) * mask_BN
    return history_BND, recency_BN, behaviour_BN, mask_BN


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000), B=st.integers(1, 3), N=st.integers(1, 6), heads=st.integers(1, 3), w=st.integers(1, 4)
)
def test_matches_the_written_out_layer(seed: int, B: int, N: int, heads: int, w: int) -> None:
    encoder = encoder_of(heads * w, heads)
    history_BND, recency_BN, behaviour_BN, mask_BN = inputs(seed, B, N, heads * w)
    encoded_BND = encode(encoder, history_BND, recency_BN, behaviour_BN, mask_BN)
    assert torch.isfinite(encoded_BND).all()
    for b in range(B):
        kept = mask_BN[b]
        if kept.any():
            expected = reference(
                encoder, history_BND[b, kept].numpy(), recency_BN[b, kept].tolist(), behaviour_BN[b, kept].tolist()
            )
            np.testing.assert_allclose(encoded_BND[b, kept].detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_histories_of_very_different_lengths_match_it_too() -> None:
    """Attention looks at those of similar length together."""
    encoder = encoder_of(4, 2)
    history_BND, recency_BN, behaviour_BN, _ = inputs(1, 7, 70, 4)
    length_B = torch.tensor([3, 70, 0, 36, 17, 35, 9])
    mask_BN = torch.arange(70) < length_B[:, None]
    encoded_BND = encode(encoder, history_BND, recency_BN, behaviour_BN.clamp_min(1) * mask_BN, mask_BN)
    for b, length in enumerate(length_B.tolist()):
        if length:
            behaviours = behaviour_BN[b, :length].clamp_min(1).tolist()
            expected = reference(encoder, history_BND[b, :length].numpy(), recency_BN[b, :length].tolist(), behaviours)
            np.testing.assert_allclose(encoded_BND[b, :length].detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_padded_positions_do_not_influence_the_others(seed: int) -> None:
    """Wherever they lie: a title without tokens pads the middle of the semantic view."""
    encoder = encoder_of(6, 2)
    history_BND, recency_BN, behaviour_BN, mask_BN = inputs(seed, 3, 5, 6)
    changed_BND = history_BND.masked_fill(~mask_BN[..., None], 77.0)
    before = encode(encoder, history_BND, recency_BN, behaviour_BN, mask_BN)
    after = encode(encoder, changed_BND, recency_BN.masked_fill(~mask_BN, 400), behaviour_BN, mask_BN)
    assert torch.equal(before[mask_BN], after[mask_BN])


def test_empty_history_is_finite_in_value_and_gradient() -> None:
    encoder = encoder_of(6, 2)
    history_BND, recency_BN, behaviour_BN, _ = inputs(0, 2, 4, 6)
    history_BND.requires_grad_()
    encoded_BND = encode(encoder, history_BND, recency_BN, 0 * behaviour_BN, torch.zeros(2, 4, dtype=torch.bool))
    assert (encoded_BND == 0).all()
    encoded_BND.sum().backward()
    assert (history_BND.grad == 0).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())


def test_recency_buckets_are_exact_then_logarithmic_and_never_fall() -> None:
    buckets = recency_bucket(torch.arange(2_000))
    assert buckets[:17].tolist() == list(range(17))
    assert (buckets.diff() >= 0).all()
    assert buckets[512:].unique().tolist() == [RECENCY_BUCKETS - 1]
    assert buckets.unique().tolist() == list(range(RECENCY_BUCKETS))
    assert abs(buckets - torch.tensor([plain_bucket(r) for r in range(2_000)])).max() == 0


def test_recency_and_behaviour_matter_and_order_alone_does_not() -> None:
    encoder = encoder_of(6, 2)
    history_BND, recency_BN, behaviour_BN, _ = inputs(5, 1, 5, 6)
    mask_BN, behaviour_BN = torch.ones(1, 5, dtype=torch.bool), behaviour_BN.clamp_min(1)
    recency_BN = torch.tensor([[4, 3, 2, 1, 0]])
    encoded_BND = encode(encoder, history_BND, recency_BN, behaviour_BN, mask_BN)
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        encode(encoder, history_BND[:, shuffled], recency_BN[:, shuffled], behaviour_BN[:, shuffled], mask_BN),
        encoded_BND[:, shuffled],
    )
    assert not torch.allclose(encode(encoder, history_BND, recency_BN.flip(1), behaviour_BN, mask_BN), encoded_BND)
    assert not torch.allclose(encode(encoder, history_BND, recency_BN, behaviour_BN % 3 + 1, mask_BN), encoded_BND)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 6 is not a multiple of 4 heads"):
        HistoryEncoder(6, 4, 0.0)


@pytest.mark.parametrize("training", [False, True])
def test_dropout_reaches_the_weights_of_attention(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def attended(*tensors: Tensor, scale: float, dropout_rate: float) -> Tensor:
        rates.append(dropout_rate)
        return attend(*tensors, scale=scale, dropout_rate=dropout_rate)

    monkeypatch.setattr("gensr_dist.model.history.attend", attended)
    encode(encoder_of(8, 2).train(training), *inputs(1, 3, 6, 8))
    assert rates == [0.3 if training else 0.0]
