"""The torch path of the soft filter on the CPU."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gensr_dist.kernels.soft_filter.op import soft_filter
from gensr_dist.kernels.soft_filter.reference import soft_filter_reference
from tests.kernels.soft_filter_cases import Shape, check_empty_and_masked, check_soft_filter, draw, equation

SHAPES = st.builds(
    Shape,
    G=st.integers(1, 3),
    M=st.integers(1, 9),
    N=st.integers(1, 40),
    D=st.integers(1, 80),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    seed=st.integers(0, 10_000),
    visible=st.sampled_from([0.1, 0.6, 1.0]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)


@settings(max_examples=40)
@given(shape=SHAPES)
def test_as_exact_as_unfused_code(shape: Shape) -> None:
    check_soft_filter(shape)


def test_the_reference_is_the_equation() -> None:
    arguments = draw(Shape(3, 5, 7, 12, torch.float64))
    torch.testing.assert_close(soft_filter_reference(*arguments), equation(*arguments), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_empty_groups_and_masked_rows(dtype: torch.dtype) -> None:
    check_empty_and_masked(Shape(4, 3, 6, 16, dtype))


def test_gradients_by_differences() -> None:
    query_GMD, history_GND, mask_GN = draw(Shape(2, 3, 4, 5, torch.float64))
    history_GND = history_GND.masked_fill(~mask_GN[..., None], 0.5)
    inputs = (query_GMD.requires_grad_(), history_GND.requires_grad_(), mask_GN)
    assert torch.autograd.gradcheck(soft_filter, inputs)


def test_strided_inputs() -> None:
    query_GMD, history_GND, mask_GN = draw(Shape(3, 4, 6, 8))
    strided = (
        query_GMD.transpose(0, 1).contiguous().transpose(0, 1),
        history_GND.repeat(1, 1, 2)[..., :8],
        mask_GN.T.contiguous().T,
    )
    torch.testing.assert_close(soft_filter(*strided), soft_filter(query_GMD, history_GND, mask_GN))


class LargestOutput(TorchDispatchMode):
    """Elements of the largest tensor that an operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_nothing_larger_than_inputs_and_weights_is_computed() -> None:
    G, M, N, D = 4, 30, 40, 64
    query_GMD, history_GND, mask_GN = draw(Shape(G, M, N, D, visible=1.0))
    query_GMD.requires_grad_(), history_GND.requires_grad_()
    with LargestOutput() as largest:
        soft_filter(query_GMD, history_GND, mask_GN).square().sum().backward()
    assert query_GMD.grad is not None
    assert history_GND.grad is not None
    assert largest.elements == max(G * M * D, G * N * D, G * M * N)


def test_what_the_backward_pass_keeps() -> None:
    query_GMD, history_GND, mask_GN = draw(Shape(4, 30, 40, 64, visible=1.0))
    kept: list[torch.Size] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        soft_filter(query_GMD.requires_grad_(), history_GND.requires_grad_(), mask_GN)
    assert sorted(kept) == sorted([query_GMD.shape, history_GND.shape, torch.Size((4, 30, 40))])


def test_inputs_that_do_not_fit_together() -> None:
    query_GMD, history_GND, mask_GN = draw(Shape(2, 3, 4, 8))
    with pytest.raises(ValueError, match="query is"):
        soft_filter(query_GMD.double(), history_GND, mask_GN)
    for wrong in (
        (query_GMD[:1], history_GND, mask_GN),
        (query_GMD[..., :4], history_GND, mask_GN),
        (query_GMD, history_GND, mask_GN[:, :2]),
        (query_GMD, history_GND, mask_GN[:1]),
    ):
        with pytest.raises(ValueError, match="history"):
            soft_filter(*wrong)
