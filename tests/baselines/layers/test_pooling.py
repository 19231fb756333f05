"""Pooling against loops in float64."""

import torch
from torch import Tensor

from gensr_dist.baselines.layers.pooling import AdditivePooling, masked_softmax, newest
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, dense, learnt, masks, normal, softmax

G, L, D = 4, 5, 6


def additive(pooling: AdditivePooling, vectors: list[Tensor]) -> Tensor:
    if not vectors:
        return torch.zeros(D, dtype=torch.float64)
    weights = softmax([pooling.logit.weight[0] @ dense(pooling.hidden, c_D).tanh() for c_D in vectors])
    return sum(weight * c_D for weight, c_D in zip(weights, vectors, strict=True))


@torch.no_grad()
def test_additive_pooling_matches_the_loops_for_any_leading_dimensions() -> None:
    pooling = learnt(AdditivePooling(D, 3))
    vector_GLD, mask_GL = normal(1, G, L, D), masks(2, G, L)
    found_GD = pooling(vector_GLD, mask_GL)
    for g in range(G):
        assert_close(found_GD[g], additive(pooling, list(vector_GLD[g][mask_GL[g]])))
    assert_close(pooling(vector_GLD.view(2, 2, L, D), mask_GL.view(2, 2, L)), found_GD.view(2, 2, D))
    assert_close(pooling(vector_GLD[3], mask_GL[3]), found_GD[3])


@torch.no_grad()
def test_padding_and_its_length_do_not_matter() -> None:
    pooling = learnt(AdditivePooling(D, 3))
    vector_GLD, mask_GL = normal(1, G, L, D), masks(2, G, L)
    wider_GL = torch.nn.functional.pad(mask_GL, (0, 2))
    wider_GLD = torch.full((G, L + 2, D), FAR, dtype=torch.float64)
    wider_GLD[wider_GL] = vector_GLD[mask_GL]
    assert_close(pooling(wider_GLD, wider_GL), pooling(vector_GLD, mask_GL))


def test_empty_rows_give_zeros_and_finite_gradients() -> None:
    pooling = learnt(AdditivePooling(D, 3))
    vector_GLD = normal(1, G, L, D).requires_grad_()
    mask_GL = masks(2, G, L)
    pooled_GD = pooling(vector_GLD, mask_GL)
    assert (pooled_GD[0] == 0).all()
    (gradient_GLD,) = torch.autograd.grad(pooled_GD.square().sum(), vector_GLD)
    assert torch.isfinite(gradient_GLD).all()
    assert ((gradient_GLD != 0).any(2) == mask_GL).all()
    assert_trains(pooling, pooling(vector_GLD, mask_GL))


def test_masked_softmax_bears_large_logits_and_half_precision() -> None:
    logit_GL = torch.tensor([[1e4, -1e4, 3e4], [5.0, 5.0, 7.0]], dtype=torch.bfloat16)
    mask_GL = torch.tensor([[True, True, False], [True, True, False]])
    share_GL = masked_softmax(logit_GL, mask_GL)
    assert share_GL.dtype == torch.float32
    assert share_GL.tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert (masked_softmax(logit_GL, ~mask_GL & mask_GL) == 0).all()


def test_the_newest_is_the_last_real_one_and_0_without() -> None:
    vector_GLD = torch.arange(24.0).reshape(3, 4, 2)
    mask_GL = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    assert newest(vector_GLD, mask_GL).tolist() == [[2, 3], [14, 15], [0, 0]]
