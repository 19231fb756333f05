"""Attention of whole sequences against its equation in float64, with and without dropout.

Dimensions: B sequences, H heads, N places, K width of a head.
"""

import pytest
import torch
from torch import Tensor

from gensr_dist.model import attention
from gensr_dist.model.attention import attend, mask_bias

B, H, N, K = 3, 2, 7, 5
SCALE = 0.4


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, values, a learned bias and a mask whose last row sees nothing."""
    generator = torch.Generator().manual_seed(0)
    query_BHNK, key_BHNK, value_BHNK = (torch.randn(B, H, N, K, generator=generator, dtype=dtype) for _ in range(3))
    bias_HNN = torch.randn(H, N, N, generator=generator, dtype=dtype)
    mask_BN = torch.rand(B, N, generator=generator) < 0.7
    mask_BN[0, 0], mask_BN[-1] = True, False
    return query_BHNK, key_BHNK, value_BHNK, bias_HNN, mask_BN


def reference(
    query_BHNK: Tensor, key_BHNK: Tensor, value_BHNK: Tensor, bias_HNN: Tensor, mask_BN: Tensor, kept: Tensor | float
) -> Tensor:
    """Softmax over visible keys, whose weights are multiplied by `kept`."""
    score_BHNN = SCALE * torch.einsum("bhnk,bhmk->bhnm", query_BHNK, key_BHNK) + bias_HNN
    score_BHNN = score_BHNN.masked_fill(~mask_BN[:, None, None, :], -torch.inf)
    weight_BHNN = (score_BHNN - score_BHNN.amax(-1, keepdim=True)).exp()
    return torch.einsum("bhnm,bhmk->bhnk", weight_BHNN / weight_BHNN.sum(-1, keepdim=True) * kept, value_BHNK)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_values_and_gradients_are_those_of_the_equation(
    rate: float, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (torch.rand(B, H, N, N, generator=torch.Generator().manual_seed(1)) > rate).double() / (1 - rate)
    asked: list[float] = []

    def fixed(weight_BHNN: Tensor, given: float) -> Tensor:
        asked.append(given)
        return weight_BHNN * kept.to(weight_BHNN.dtype)

    monkeypatch.setattr(attention, "dropout", fixed)
    *tensors, mask_BN = inputs(dtype)
    ours = [tensor.requires_grad_() for tensor in tensors]
    theirs = [tensor.detach().double().requires_grad_() for tensor in tensors]
    bias = ours[3] + mask_bias(mask_BN, ours[0])[:, None, None, :]
    out = attend(*ours[:3], bias, scale=SCALE, dropout_rate=rate)
    seen = slice(0, B - 1)
    query_BHNK, key_BHNK, value_BHNK = (tensor[seen] for tensor in theirs[:3])
    expected = reference(query_BHNK, key_BHNK, value_BHNK, theirs[3], mask_BN[seen], kept[seen])
    assert asked == [rate] * bool(rate)
    torch.testing.assert_close(out[seen].double(), expected, rtol=tolerance, atol=tolerance)
    d_out = torch.randn(out[seen].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    out[seen].backward(d_out.to(dtype))
    expected.backward(d_out)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sequence_that_sees_nothing_is_finite(rate: float, dtype: torch.dtype) -> None:
    *tensors, mask_BN = inputs(torch.float32)
    query_BHNK, key_BHNK, value_BHNK, bias_HNN = (tensor.to(dtype).requires_grad_() for tensor in tensors)
    out = attend(
        query_BHNK,
        key_BHNK,
        value_BHNK,
        bias_HNN + mask_bias(mask_BN, query_BHNK)[:, None, None, :],
        scale=SCALE,
        dropout_rate=rate,
    )
    out.sum().backward()
    assert torch.isfinite(out).all()
    for tensor in (query_BHNK, key_BHNK, value_BHNK, bias_HNN):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_the_bias_may_be_used_again() -> None:
    query_BHNK, key_BHNK, value_BHNK, bias_HNN, _ = inputs(torch.float32)
    before = bias_HNN.clone()
    attend(query_BHNK, key_BHNK, value_BHNK, bias_HNN, scale=1.0, dropout_rate=0.5)
    assert torch.equal(bias_HNN, before)
