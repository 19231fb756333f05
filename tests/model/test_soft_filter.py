"""The soft filter against eq. 5 and 6 in float64, with keys and values projected one by one."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gensr_dist.model.soft_filter import MeanFilter, SoftFilter, absorption_pays


def reference(soft: SoftFilter, candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
    rows = []
    for group in range(candidate_GCD.shape[0]):
        kept = [n for n in range(mask_GN.shape[1]) if mask_GN[group, n]]
        for candidate_D in candidate_GCD[group]:
            heads = []
            for query_KD, key_KD, value_KD in zip(soft.query_HKD, soft.key_HKD, soft.value_HKD, strict=True):
                keys = [key_KD @ history_GND[group, n] for n in kept]
                values = [value_KD @ history_GND[group, n] for n in kept]
                if kept:
                    query_K = query_KD @ candidate_D
                    alpha = torch.stack([query_K @ key / math.sqrt(len(query_K)) for key in keys]).softmax(0)
                    heads.append(torch.stack([a * value for a, value in zip(alpha, values, strict=True)]).sum(0))
            rows.append(torch.cat(heads) if kept else soft.empty_D)
    return torch.stack(rows).view_as(candidate_GCD)


def inputs(seed: int, G: int, C: int, N: int, D: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    candidate_GCD = torch.randn(G, C, D, generator=generator, dtype=torch.float64)
    history_GND = torch.randn(G, N, D, generator=generator, dtype=torch.float64)
    mask_GN = torch.rand(G, N, generator=generator) < 0.6
    return candidate_GCD, history_GND, mask_GN


def soft_filter(seed: int, width: int, heads: int) -> SoftFilter:
    torch.manual_seed(seed)
    soft = SoftFilter(width, heads).double()
    torch.nn.init.normal_(soft.empty_D)
    return soft


SHAPES = {
    "seed": st.integers(0, 10_000),
    "G": st.integers(1, 3),
    "C": st.integers(1, 4),
    "N": st.integers(1, 7),
    "heads": st.integers(1, 4),
    "head_width": st.integers(1, 5),
}


@settings(max_examples=40)
@given(**SHAPES)
def test_matches_projected_keys_and_values(seed: int, G: int, C: int, N: int, heads: int, head_width: int) -> None:
    soft = soft_filter(seed, heads * head_width, heads)
    arguments = inputs(seed, G, C, N, heads * head_width)
    expected = reference(soft, *arguments)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(soft(*arguments), expected, rtol=1e-10, atol=1e-10)
    single = soft.float()(arguments[0].float(), arguments[1].float(), arguments[2])
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(**SHAPES)
def test_gradients_match_the_reference(seed: int, G: int, C: int, N: int, heads: int, head_width: int) -> None:
    soft = soft_filter(seed, heads * head_width, heads)
    candidate_GCD, history_GND, mask_GN = inputs(seed, G, C, N, heads * head_width)
    candidate_GCD.requires_grad_()
    history_GND.requires_grad_()
    weight_GCD = torch.randn_like(candidate_GCD)
    variables = [candidate_GCD, history_GND, *soft.parameters()]
    gradients = [
        torch.autograd.grad(
            (function(candidate_GCD, history_GND, mask_GN) * weight_GCD).sum(),
            variables,
            allow_unused=True,
            materialize_grads=True,
        )
        for function in (soft, lambda *arguments: reference(soft, *arguments))
    ]
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    assert (gradients[0][1][~mask_GN] == 0).all()


@pytest.mark.parametrize("kind", [SoftFilter, MeanFilter])
def test_padding_never_gets_weight(kind: type) -> None:
    soft = soft_filter(1, 6, 2) if kind is SoftFilter else MeanFilter(6).double()
    candidate_GCD, history_GND, mask_GN = inputs(1, 4, 3, 6, 6)
    changed_GND = history_GND.masked_fill(~mask_GN[..., None], 1e6)
    assert torch.equal(soft(candidate_GCD, changed_GND, mask_GN), soft(candidate_GCD, history_GND, mask_GN))
    longer_GND = torch.cat([history_GND, torch.full((4, 2, 6), -1e6, dtype=torch.float64)], dim=1)
    longer_mask_GN = torch.cat([mask_GN, torch.zeros(4, 2, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(
        soft(candidate_GCD, longer_GND, longer_mask_GN), soft(candidate_GCD, history_GND, mask_GN)
    )


@pytest.mark.parametrize("kind", [SoftFilter, MeanFilter])
def test_empty_history_gives_the_learned_vector_and_only_it_a_gradient(kind: type) -> None:
    soft = soft_filter(2, 6, 2) if kind is SoftFilter else MeanFilter(6).double()
    torch.nn.init.normal_(soft.empty_D)
    candidate_GCD, history_GND, _ = inputs(2, 2, 3, 5, 6)
    candidate_GCD.requires_grad_()
    history_GND.requires_grad_()
    filtered_GCD = soft(candidate_GCD, history_GND, torch.zeros(2, 5, dtype=torch.bool))
    assert torch.equal(filtered_GCD, soft.empty_D.expand(2, 3, 6))
    filtered_GCD.sum().backward()
    torch.testing.assert_close(soft.empty_D.grad, torch.full((6,), 6.0, dtype=torch.float64))
    others = [candidate_GCD, history_GND, *(p for name, p in soft.named_parameters() if name != "empty_D")]
    assert all(variable.grad is None or (variable.grad == 0).all() for variable in others)


def test_many_candidates_project_the_history_and_few_absorb_the_projections() -> None:
    soft = soft_filter(4, 8, 2)
    for C, N, absorbs in ((2, 7, True), (30, 3, False)):
        arguments = inputs(4, 2, C, N, 8)
        arguments[2][:, 0] = True
        assert absorption_pays(candidates=C, positions=N, width=8, heads=2) is absorbs
        expected = reference(soft, *arguments)
        torch.testing.assert_close(soft._absorbed(*arguments), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(soft._projected(*arguments), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("C", "N", "heads"), [(1, 1, 1), (5, 20, 4), (20, 20, 4), (100, 20, 4), (100, 400, 12)])
def test_what_pays_is_fewer_operations(C: int, N: int, heads: int) -> None:
    D, K = 24 * heads, 24
    # Multiplications of: queries projected; keys; values; products with the history and sums over it.
    absorbed = C * D * D + C * heads * K * D + C * heads * D * K + 2 * C * heads * N * D
    projected = C * D * D + N * D * D + N * D * D + 2 * C * heads * N * K
    assert absorption_pays(candidates=C, positions=N, width=D, heads=heads) is (absorbed <= projected)


def test_only_the_soft_filter_is_candidate_specific() -> None:
    candidate_GCD, history_GND, mask_GN = inputs(3, 1, 4, 6, 6)
    mask_GN[:] = True
    soft_GCD = soft_filter(3, 6, 2)(candidate_GCD, history_GND, mask_GN)
    mean_GCD = MeanFilter(6)(candidate_GCD, history_GND, mask_GN)
    assert ((soft_GCD[:, 1:] - soft_GCD[:, :1]).abs().amax(-1) > 1e-3).all()
    assert torch.equal(mean_GCD, history_GND.mean(1, keepdim=True).expand_as(mean_GCD))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 6 is not a multiple of 4 heads"):
        SoftFilter(6, 4)
