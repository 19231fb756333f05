"""FMLP's block against a discrete Fourier transform written out, in float64."""

import cmath
import math

import pytest
import torch
from torch import Tensor, nn

from gensr_dist.baselines.layers.filter import FilterBlock
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt, norm, normal

G, D = 3, 4


def filtered(x_L: list[float], weight_F: list[complex]) -> list[float]:
    """x's frequencies times the weights, back as numbers; those above the middle mirror those below."""
    L = len(x_L)
    turn = [cmath.exp(-2j * math.pi * k / L) for k in range(L)]
    frequency_L = [sum(x_L[t] * turn[k * t % L] for t in range(L)) / L**0.5 for k in range(L)]
    weighted_F = [frequency_L[k] * weight_F[k] for k in range(L // 2 + 1)]
    weighted_F[0] = complex(weighted_F[0].real)  # a real sequence has a real mean
    if L % 2 == 0:
        weighted_F[-1] = complex(weighted_F[-1].real)
    mirrored_L = [weighted_F[k] if k <= L // 2 else weighted_F[L - k].conjugate() for k in range(L)]
    return [sum(mirrored_L[k] * turn[k * t % L].conjugate() for k in range(L)).real / L**0.5 for t in range(L)]


def reference(block: FilterBlock, x_LD: Tensor) -> Tensor:
    weight_FD = torch.view_as_complex(block.filter_FD2)
    columns = [filtered(x_LD[:, d].tolist(), weight_FD[:, d].tolist()) for d in range(D)]
    x_LD = x_LD + torch.tensor(columns, dtype=torch.float64).T
    out = []
    for x_D in x_LD:
        x_D = norm(block.filter_norm, x_D)
        hidden = dense(block.feed_forward[0], x_D)
        gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        out.append(norm(block.feed_forward_norm, x_D + dense(block.feed_forward[3], gelu)))
    return torch.stack(out)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
@torch.no_grad()
def test_matches_the_transform_written_out(length: int) -> None:
    block = learnt(FilterBlock(length, D, 0.3))
    assert block.filter_FD2.shape == (length // 2 + 1, D, 2)
    input_GLD = normal(1, G, length, D)
    found_GLD = block(input_GLD)
    for g in range(G):
        assert_close(found_GLD[g], reference(block, input_GLD[g]))


@torch.no_grad()
def test_the_last_position_alone_is_as_among_all() -> None:
    block = learnt(FilterBlock(7, D, 0.3))
    input_GLD = normal(1, G, 7, D)
    assert_close(block(input_GLD, last=True), block(input_GLD)[:, -1:])


@torch.no_grad()
def test_a_filter_of_ones_passes_everything() -> None:
    block = learnt(FilterBlock(6, D, 0.0))
    block.filter_FD2.copy_(torch.tensor([1.0, 0.0]).expand_as(block.filter_FD2))
    block.feed_forward[3].weight.zero_()
    block.feed_forward[3].bias.zero_()
    for layer in (block.filter_norm, block.feed_forward_norm):
        layer.reset_parameters()
    input_GLD = normal(1, G, 6, D)
    assert_close(block(input_GLD), nn.functional.layer_norm(2 * input_GLD, (D,), eps=1e-12))


def test_every_weight_learns() -> None:
    block = learnt(FilterBlock(5, D, 0.0))
    assert_trains(block, block(normal(1, G, 5, D)))


@torch.no_grad()
def test_other_rows_do_not_matter_and_dropout_works_in_training() -> None:
    block = learnt(FilterBlock(5, D, 0.5))
    input_GLD = normal(1, G, 5, D)
    assert_close(block(input_GLD[1:2])[0], block(input_GLD)[1])
    block.train()
    assert not torch.equal(block(input_GLD), block(input_GLD))


def test_rows_of_padding_vectors_are_finite_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    block = FilterBlock(5, D, 0.0)
    input_GLD = normal(1, 1, 1, D).float().expand(G, 5, D).clone().requires_grad_()
    out_GLD = block(input_GLD)
    out_GLD.square().sum().backward()
    for tensor in (out_GLD, input_GLD.grad, *(each.grad for each in block.parameters())):
        assert torch.isfinite(tensor).all()


def test_refuses_another_length() -> None:
    with pytest.raises(ValueError, match="for 5 positions, not for 4"):
        FilterBlock(5, D, 0.0)(torch.zeros(1, 4, D))


def test_begins_with_a_small_filter() -> None:
    torch.manual_seed(0)
    block = FilterBlock(50, 64, 0.5)
    assert block.filter_FD2.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.feed_forward[0].weight.shape == (256, 64)
    assert block.feed_forward[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
