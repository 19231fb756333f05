"""Triton's norm and gate: on a GPU, or in the interpreter, where `test_interpreter.py` runs this file."""

import pytest
import torch

from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm import triton_path
from gensr_dist.kernels.rms_norm.op import rms_norm
from tests.kernels.elementwise_cases import EPS, check_gated_gelu, check_rms_norm, draw
from tests.kernels.triton_device import DEVICE, needs_triton

pytestmark = needs_triton

SHAPES = [(1, 1), (5, 16), (3, 2, 37), (7, 80), (300, 9)]
LARGE = [(4096, 512), (1111, 768), (64, 95, 768), (513, 1025), (33, 16_384)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_exact_as_unfused_code(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check_rms_norm(shape, dtype, DEVICE, path="triton")
    check_gated_gelu(shape, dtype, DEVICE, path="triton", scale=3.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_shapes_in_use(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check_rms_norm(shape, dtype, DEVICE, path="triton")
    check_gated_gelu(shape, dtype, DEVICE, path="triton", scale=3.0)


def test_more_rows_than_the_programs_of_a_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_path, "_PARTS", 3)
    monkeypatch.setattr(triton_path, "_TILE", 32)
    check_rms_norm((23, 16), torch.float32, DEVICE, path="triton")


def test_halves_of_one_product() -> None:
    both_BD = draw((3, 5, 48), torch.float32, 0, DEVICE)
    gate_BD, value_BD = both_BD.chunk(2, dim=-1)
    strided = gated_gelu(gate_BD, value_BD, "triton")
    assert torch.equal(strided, gated_gelu(gate_BD.contiguous(), value_BD.contiguous(), "triton"))
    turned = gated_gelu(gate_BD.transpose(0, 2), value_BD.transpose(0, 2), "triton")
    assert torch.equal(turned, strided.transpose(0, 2))


def test_mixed_types_and_no_rows() -> None:
    x_BD = draw((3, 16), torch.bfloat16, 0, DEVICE).requires_grad_()
    weight_D = draw((16,), torch.float32, 1, DEVICE).requires_grad_()
    out_BD = rms_norm(x_BD, weight_D, EPS, "triton")
    out_BD.sum().backward()
    assert x_BD.grad is not None
    assert (out_BD.dtype, x_BD.grad.dtype) == (torch.float32, torch.bfloat16)
    none_BD = torch.zeros(0, 16, device=DEVICE, requires_grad=True)
    (rms_norm(none_BD, weight_D, EPS, "triton").sum() + gated_gelu(none_BD, none_BD, "triton").sum()).backward()
    assert none_BD.grad is not None


def test_rows_too_wide() -> None:
    with pytest.raises(ValueError, match="at most 16384 fit"):
        rms_norm(torch.zeros(1, 16_385, device=DEVICE), torch.ones(16_385, device=DEVICE), EPS, "triton")
