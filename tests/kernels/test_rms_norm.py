"""The torch path of T5's layer norm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.t5.modeling_t5 import T5LayerNorm

from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.kernels.rms_norm.reference import rms_norm_reference
from tests.kernels.elementwise_cases import EPS, check_rms_norm, draw, rms_norm_equation


@settings(max_examples=30)
@given(
    shape=st.lists(st.integers(1, 5), max_size=2).flatmap(lambda s: st.integers(8, 70).map(lambda d: (*s, d))),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
)
def test_as_exact_as_unfused_code(shape: tuple[int, ...], dtype: torch.dtype, seed: int, scale: float) -> None:
    check_rms_norm(shape, dtype, seed=seed, scale=scale)


def test_the_reference_is_the_equation_and_transformers_code() -> None:
    x_BD, weight_D = draw((3, 4, 9), torch.float64, 0, "cpu"), draw((9,), torch.float64, 1, "cpu")
    torch.testing.assert_close(rms_norm_reference(x_BD, weight_D, EPS), rms_norm_equation(x_BD, weight_D))
    for x_dtype, weight_dtype in ((torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)):
        norm = T5LayerNorm(9, EPS).to(weight_dtype)
        norm.weight.data.copy_(weight_D)
        expected = norm(x_BD.to(x_dtype))
        for actual in (rms_norm_reference, rms_norm):
            torch.testing.assert_close(actual(x_BD.to(x_dtype), norm.weight, EPS), expected)


@pytest.mark.parametrize(("x_dtype", "weight_dtype"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_mixed_types_give_the_weights(x_dtype: str, weight_dtype: str) -> None:
    x_BD = draw((3, 8), getattr(torch, x_dtype), 0, "cpu").requires_grad_()
    weight_D = draw((8,), getattr(torch, weight_dtype), 1, "cpu").requires_grad_()
    out_BD = rms_norm(x_BD, weight_D, EPS)
    torch.testing.assert_close(out_BD, rms_norm_reference(x_BD, weight_D, EPS))
    d_x_BD, d_weight_D = torch.autograd.grad(out_BD.sum(), (x_BD, weight_D))
    assert (out_BD.dtype, d_x_BD.dtype, d_weight_D.dtype) == (weight_D.dtype, x_BD.dtype, weight_D.dtype)


def test_rows_of_zeros_and_no_rows() -> None:
    for shape in ((2, 5), (0, 5), (3, 0, 5)):
        x_BD, weight_D = torch.zeros(shape, requires_grad=True), torch.ones(5, requires_grad=True)
        out_BD = rms_norm(x_BD, weight_D, EPS)
        out_BD.sum().backward()
        assert (out_BD == 0).all()
        assert x_BD.grad is not None
        assert torch.isfinite(x_BD.grad).all()


@pytest.mark.parametrize("D", [1, 2, 5])
def test_float64_and_narrow_rows_whose_gradient_nearly_cancels(D: int) -> None:
    runs = []
    for op in (lambda x, weight: rms_norm(x, weight, EPS), rms_norm_equation):
        x_BD = draw((6, D), torch.float64, 0, "cpu").requires_grad_()
        weight_D = draw((D,), torch.float64, 1, "cpu").requires_grad_()
        out_BD = op(x_BD, weight_D)
        runs.append((out_BD.detach(), *torch.autograd.grad(out_BD.sum(), (x_BD, weight_D))))
    for actual, expected in zip(*runs, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


def test_gradients_by_differences() -> None:
    x_BD, weight_D = draw((2, 3, 5), torch.float64, 0, "cpu"), draw((5,), torch.float64, 1, "cpu")
    strided_BD = x_BD.transpose(0, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, EPS), (strided_BD, weight_D.requires_grad_()))


def test_widths_that_differ() -> None:
    with pytest.raises(ValueError, match="rows of 4"):
        rms_norm(torch.zeros(2, 4), torch.ones(5), EPS)


def test_permuted_rows_have_the_gradients_of_contiguous_ones() -> None:
    gradients = []
    for permuted in (False, True):
        x_BND = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        weight_D = torch.linspace(0.5, 1.5, 8).requires_grad_()
        rows = x_BND.transpose(0, 1)
        rms_norm(rows if permuted else rows.contiguous(), weight_D, 1e-6).square().sum().backward()
        gradients.append((x_BND.grad, weight_D.grad))
    for plain, strided in zip(*gradients, strict=True):
        torch.testing.assert_close(strided, plain)
