"""The encoder against its blocks written out in float64, for the three places of layer norm."""

import math

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.layers.encoder import Activation, Encoder, EncoderBlock, Norm, causal_mask, padding_mask
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, dense, learnt, masks, norm, normal
from tests.baselines.layers.test_attention import attention_of

G, L, D, INNER = 4, 5, 6, 7
NORMS: list[Norm] = ["post", "pre", "query"]
ACTIVATIONS: list[Activation] = ["relu", "gelu", "leaky_relu"]


def encoder_of(norm: Norm, layers: int = 2, activation: Activation = "gelu", dropout: float = 0.0) -> Encoder:
    return learnt(Encoder(D, layers, 2, INNER, dropout, norm, activation))


def activated(x: float, activation: Activation) -> float:
    if activation == "gelu":
        return x * (1 + math.erf(x / 2**0.5)) / 2
    return x if x > 0 else {"relu": 0.0, "leaky_relu": 0.01}[activation] * x


def block_of(block: EncoderBlock, x_LD: Tensor, allowed_LL: Tensor, activation: Activation) -> Tensor:
    """One sequence through one block, from the equations."""

    def attend(query_LD: Tensor, key_LD: Tensor) -> Tensor:
        rows = zip(query_LD, allowed_LL, strict=True)
        return torch.stack([attention_of(block.attention, query_D, key_LD, allowed) for query_D, allowed in rows])

    def feed(x_LD: Tensor) -> Tensor:
        hidden = [dense(block.feed_forward[0], x_D).tolist() for x_D in x_LD]
        inner_LI = torch.tensor([[activated(x, activation) for x in row] for row in hidden], dtype=torch.float64)
        return torch.stack([dense(block.feed_forward[3], inner_I) for inner_I in inner_LI])

    def first(x_LD: Tensor) -> Tensor:
        return torch.stack([norm(block.attention_norm, x_D) for x_D in x_LD])

    def second(x_LD: Tensor) -> Tensor:
        return torch.stack([norm(block.feed_forward_norm, x_D) for x_D in x_LD])

    if block.norm == "post":
        x_LD = first(x_LD + attend(x_LD, x_LD))
        return second(x_LD + feed(x_LD))
    if block.norm == "pre":
        x_LD = x_LD + attend(first(x_LD), first(x_LD))
        return x_LD + feed(second(x_LD))
    x_LD = first(x_LD) + attend(first(x_LD), x_LD)
    return second(x_LD) + feed(second(x_LD))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("place", NORMS)
@torch.no_grad()
def test_matches_the_equations(place: Norm, activation: Activation) -> None:
    encoder = encoder_of(place, activation=activation)
    input_GLD, allowed_GLL = normal(1, G, L, D), causal_mask(L) & padding_mask(masks(2, G, L))
    encoded_GLD = encoder(input_GLD, allowed_GLL)
    for g in range(G):
        x_LD = input_GLD[g]
        for block in encoder.blocks:
            x_LD = block_of(block, x_LD, allowed_GLL[g], activation)
        if place != "post":
            x_LD = torch.stack([norm(encoder.final_norm, x_D) for x_D in x_LD])
        assert_close(encoded_GLD[g], x_LD)


@pytest.mark.parametrize("place", NORMS)
def test_without_blocks_it_is_the_identity(place: Norm) -> None:
    encoder = encoder_of(place, layers=0)
    input_GLD = normal(1, G, L, D)
    assert torch.equal(encoder(input_GLD, causal_mask(L)), input_GLD)
    assert not list(encoder.parameters())


@pytest.mark.parametrize("place", NORMS)
@torch.no_grad()
def test_padding_and_other_rows_do_not_matter(place: Norm) -> None:
    encoder = encoder_of(place)
    input_GLD, real_GL = normal(1, G, L, D), masks(2, G, L)
    encoded_GLD = encoder(input_GLD, padding_mask(real_GL))
    changed_GLD = input_GLD.masked_fill(~real_GL[..., None], FAR)
    assert torch.equal(encoder(changed_GLD, padding_mask(real_GL))[real_GL], encoded_GLD[real_GL])
    for g in range(1, G):
        n = int(real_GL[g].sum())
        alone_1LD = encoder(input_GLD[g : g + 1, :n], padding_mask(real_GL[g : g + 1, :n]))
        assert_close(alone_1LD[0], encoded_GLD[g, :n])


@pytest.mark.parametrize("place", NORMS)
@torch.no_grad()
def test_under_a_causal_mask_nothing_later_is_seen(place: Norm) -> None:
    encoder = encoder_of(place)
    input_GLD = normal(1, G, L, D)
    encoded_GLD = encoder(input_GLD, causal_mask(L))
    for t in range(L - 1):
        changed_GLD = input_GLD.clone()
        changed_GLD[:, t + 1 :] = normal(3, G, L - t - 1, D)
        other_GLD = encoder(changed_GLD, causal_mask(L))
        assert torch.equal(other_GLD[:, : t + 1], encoded_GLD[:, : t + 1])
        assert not torch.isclose(other_GLD[:, t + 1 :], encoded_GLD[:, t + 1 :]).all()


@pytest.mark.parametrize("place", NORMS)
def test_a_batch_with_an_empty_row_trains(place: Norm) -> None:
    encoder = encoder_of(place)
    input_GLD = normal(1, G, L, D).requires_grad_()
    out_GLD = encoder(input_GLD, padding_mask(masks(2, G, L)))
    assert torch.isfinite(out_GLD).all()
    assert_trains(encoder, out_GLD, "key.bias")
    assert torch.isfinite(input_GLD.grad).all()


@pytest.mark.parametrize("place", NORMS)
def test_only_empty_rows_are_finite_in_value_and_gradient(place: Norm) -> None:
    encoder = encoder_of(place).float()
    input_GLD = torch.zeros(G, L, D, requires_grad=True)
    out_GLD = encoder(input_GLD, torch.zeros(1, L, L, dtype=torch.bool))
    out_GLD.square().sum().backward()
    for tensor in (out_GLD, input_GLD.grad, *(each.grad for each in encoder.parameters())):
        assert torch.isfinite(tensor).all()


@torch.no_grad()
def test_dropout_works_in_training_alone() -> None:
    encoder = encoder_of("pre", dropout=0.5)
    input_GLD = normal(1, G, L, D)
    assert torch.equal(encoder(input_GLD, causal_mask(L)), encoder(input_GLD, causal_mask(L)))
    encoder.train()
    assert not torch.equal(encoder(input_GLD, causal_mask(L)), encoder(input_GLD, causal_mask(L)))


def test_begins_with_small_weights() -> None:
    torch.manual_seed(0)
    block = Encoder(64, 1, 4, 128, 0.1, "post", "relu").blocks[0]
    for linear in (block.attention.query, block.attention.out, block.feed_forward[0], block.feed_forward[3]):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert (linear.bias == 0).all()


def test_masks_written_down() -> None:
    assert causal_mask(3).int().tolist() == [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]
    assert padding_mask(torch.tensor([[True, False], [False, False]])).int().tolist() == [[[1, 0]], [[0, 0]]]
