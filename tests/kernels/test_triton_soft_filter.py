"""Triton's soft filter: on a GPU, or in the interpreter, where `test_interpreter.py` runs this file.

The interpreter cuts bfloat16 off where GPUs round to the nearest, and still has to keep the tolerance.
"""

import pytest
import torch

from gensr_dist.kernels.soft_filter.op import soft_filter
from tests.kernels.soft_filter_cases import Shape, check_empty_and_masked, check_soft_filter, draw
from tests.kernels.triton_device import DEVICE, needs_triton

pytestmark = needs_triton


RESIDENT = [
    Shape(3, 5, 7, 64),
    Shape(2, 8, 37, 80),
    Shape(1, 1, 1, 16),
    Shape(3, 3, 20, 48, scale=10.0),
    Shape(2, 5, 7, 80, dtype=torch.bfloat16),
    Shape(2, 4, 20, 33, dtype=torch.bfloat16, scale=5.0),
]
STREAMED = [
    Shape(2, 5, 150, 48, visible=0.2),
    Shape(2, 3, 133, 24, dtype=torch.bfloat16),
    Shape(1, 2, 129, 300),  # programs own parts of the width
    Shape(2, 70, 5, 20),  # queries of several tiles
]
LARGE = [
    Shape(64, 20, 20, 64),
    Shape(33, 20, 20, 768, dtype=torch.bfloat16),
    Shape(17, 60, 50, 768),
    Shape(9, 400, 20, 512, dtype=torch.bfloat16),
    Shape(9, 20, 400, 768, dtype=torch.bfloat16),
    Shape(5, 37, 333, 1025),
    Shape(5, 37, 333, 2048, dtype=torch.bfloat16),
    Shape(7, 13, 65, 100, dtype=torch.float16),
]


@pytest.mark.parametrize("shape", [*RESIDENT, *STREAMED], ids=str)
def test_as_exact_as_unfused_code(shape: Shape) -> None:
    check_soft_filter(shape, DEVICE, path="triton")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_shapes_in_use(shape: Shape) -> None:
    check_soft_filter(shape, DEVICE, path="triton")


@pytest.mark.parametrize("N", [6, 131])
def test_empty_groups_and_masked_rows(N: int) -> None:
    check_empty_and_masked(Shape(3, 3, N, 16), DEVICE, path="triton")


def test_same_bits_each_time() -> None:
    results = []
    for _ in range(2):
        query_GMD, history_GND, mask_GN = draw(Shape(2, 4, 9, 24), DEVICE)
        pooled_GMD = soft_filter(query_GMD.requires_grad_(), history_GND.requires_grad_(), mask_GN, "triton")
        pooled_GMD.square().sum().backward()
        results.append((pooled_GMD.detach(), query_GMD.grad, history_GND.grad))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_strided_and_empty_inputs() -> None:
    query_GMD, history_GND, mask_GN = draw(Shape(3, 4, 6, 16), DEVICE)
    strided = query_GMD.transpose(0, 1).contiguous().transpose(0, 1), history_GND.repeat(1, 1, 2)[..., :16], mask_GN
    torch.testing.assert_close(soft_filter(*strided, "triton"), soft_filter(query_GMD, history_GND, mask_GN, "triton"))
    for G, M, N in ((0, 4, 6), (3, 0, 6), (3, 4, 0)):
        query_GMD, history_GND = torch.ones(G, M, 16, device=DEVICE), torch.ones(G, N, 16, device=DEVICE)
        pooled_GMD = soft_filter(
            query_GMD.requires_grad_(),
            history_GND.requires_grad_(),
            torch.ones(G, N, dtype=torch.bool, device=DEVICE),
            "triton",
        )
        pooled_GMD.sum().backward()
        assert (pooled_GMD == 0).all()
        assert query_GMD.grad is not None
        assert query_GMD.grad.shape == (G, M, 16)
