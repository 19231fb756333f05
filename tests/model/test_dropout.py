"""Dropout of our own on CPUs: its chances, its scale and its gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from gensr_dist.model import dropout as module
from gensr_dist.model.dropout import Dropout, dropout
from gensr_dist.model.t5 import load_t5


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.25, 0.5, 0.9])
def test_zeros_come_at_the_rate_and_the_mean_stays(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1_000, 1_000)
    dropped = dropout(x, rate)
    deviation = (rate * (1 - rate) / x.numel()) ** 0.5
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=5 * deviation)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=1e-4, atol=0)
    assert float(dropped.double().mean()) == pytest.approx(1, abs=6 * deviation / (1 - rate))


def test_neighbours_drop_independently() -> None:
    """Four elements come of one draw, and none tells of another."""
    torch.manual_seed(1)
    zero = (dropout(torch.ones(1_000_000), 0.5) == 0).double() - 0.5
    for distance in (1, 2, 3, 4, 5, 1_000):
        correlation = 4 * (zero[distance:] * zero[:-distance]).mean()
        assert abs(float(correlation)) < 5e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_gradient_is_that_of_what_was_kept(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    x = torch.randn(30, 41, dtype=dtype, requires_grad=True)
    out = dropout(x, 0.4)
    d_out = torch.randn(41, 30, dtype=dtype).t()  # another layout
    out.backward(d_out)
    kept = out != 0
    assert 0.3 < float((~kept).double().mean()) < 0.5

    def scaled(whole: torch.Tensor) -> torch.Tensor:
        wide = whole.detach().to(torch.promote_types(dtype, torch.float32))
        return (wide * kept * (65_536 / (65_536 - round(0.4 * 65_536)))).to(dtype)

    assert x.grad is not None
    assert torch.equal(out, scaled(x))
    assert torch.equal(x.grad, scaled(d_out))


def test_gradcheck() -> None:
    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return dropout(x, 0.3)

    assert torch.autograd.gradcheck(seeded, torch.randn(5, 7, dtype=torch.float64, requires_grad=True))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=4), st.integers(0, 2**31), st.integers(1, 9))
def test_any_shape_layout_and_number_of_parts(shape: list[int], seed: int, part: int) -> None:
    """Elements fall by their place in the tensor as it is read, whatever its layout and the parts it is done in."""
    x = torch.rand(shape) + 1
    backwards = tuple(reversed(range(x.ndim)))
    strided = x.permute(backwards).contiguous().permute(backwards)
    torch.manual_seed(seed)
    out = dropout(x, 0.4)
    before = module._PART
    try:
        module._PART = part
        torch.manual_seed(seed)
        in_parts = dropout(strided, 0.4)
    finally:
        module._PART = before
    assert out.shape == x.shape
    assert torch.equal(in_parts, out)


def test_it_is_a_function_of_the_seed_and_moves_the_generator() -> None:
    x = torch.ones(1_000)
    torch.manual_seed(4)
    one, two = dropout(x, 0.5), dropout(x, 0.5)
    assert not torch.equal(one, two)
    torch.manual_seed(4)
    assert torch.equal(dropout(x, 0.5), one)


def test_rates_at_the_ends() -> None:
    x = torch.randn(1_000)
    assert dropout(x, 0.0) is x
    nearly_all = dropout(x, 1 - 1e-9)
    assert torch.isfinite(nearly_all).all()
    assert (nearly_all == 0).sum() > 990


def test_the_module_acts_in_training_only() -> None:
    x = torch.ones(1_000)
    layer = Dropout(0.5)
    assert (layer(x) == 0).any()
    assert layer.eval()(x) is x


def test_t5_drops_where_that_of_transformers_does() -> None:
    t5 = load_t5("nano", 40, dropout=0.2)
    ours = {name: child.rate for name, child in t5.named_modules() if isinstance(child, Dropout)}
    assert not any(isinstance(child, nn.Dropout) for child in t5.modules())
    theirs = T5ForConditionalGeneration(T5Config(**t5.config.config()))
    assert set(ours) == {name for name, child in theirs.named_modules() if isinstance(child, nn.Dropout)}
    assert set(ours.values()) == {0.2}
