"""Losses against their equations written as loops in float64.

Dimensions: G groups, C candidates, V vocabulary, D width.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gensr_dist.model.losses import contrastive_loss, match_loss, task_loss


def reference(cf_GD: Tensor, semantic_GD: Tensor, users: list[int], has_history: list[bool], tau: float) -> Tensor:
    """Sum over users of both directions of eq. 10."""
    total = 0 * (cf_GD.sum() + semantic_GD.sum())
    rows = [row for row, valid in enumerate(has_history) if valid]

    def similarity(a_D: Tensor, b_D: Tensor) -> Tensor:
        return a_D @ b_D / (a_D.norm() * b_D.norm())

    for u in rows:
        others = [v for v in rows if v == u or users[v] != users[u]]
        for one_GD, other_GD in ((cf_GD, semantic_GD), (semantic_GD, cf_GD)):
            exponents = [(similarity(one_GD[u], other_GD[v]) / tau).exp() for v in others]
            total = total - 0.5 * ((similarity(one_GD[u], other_GD[u]) / tau).exp() / sum(exponents)).log()
    return total


def views(seed: int, G: int, D: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cf_GD, semantic_GD = torch.randn(2, G, D, generator=generator, dtype=torch.float64).unbind()
    user_G = torch.randint(0, max(1, G - 1), (G,), generator=generator)
    return cf_GD, semantic_GD, user_G, torch.rand(G, generator=generator) < 0.8


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), G=st.integers(1, 8), tau=st.sampled_from([0.1, 0.5, 1.0]))
def test_contrastive_loss_and_gradient_match_the_loop(seed: int, G: int, tau: float) -> None:
    cf_GD, semantic_GD, user_G, has_history_G = views(seed, G)
    variables = [cf_GD.requires_grad_(), semantic_GD.requires_grad_()]
    loss = contrastive_loss(cf_GD, semantic_GD, user_G, has_history_G, temperature=tau, step_groups=G)
    expected = reference(cf_GD, semantic_GD, user_G.tolist(), has_history_G.tolist(), tau) / G
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)
    actual_gradients = torch.autograd.grad(loss, variables)
    expected_gradients = torch.autograd.grad(expected, variables)
    for actual, wanted in zip(actual_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-3, atol=1e-5)


def test_rows_of_the_same_user_are_not_negatives() -> None:
    cf_GD, semantic_GD, _, _ = views(0, 4)
    everyone = torch.ones(4, dtype=torch.bool)

    def loss(users: list[int]) -> float:
        return contrastive_loss(
            cf_GD, semantic_GD, torch.tensor(users), everyone, temperature=0.2, step_groups=4
        ).item()

    assert loss([7, 7, 7, 7]) == 0
    assert 0 < loss([7, 7, 8, 9]) < loss([6, 7, 8, 9])


def test_rows_without_history_neither_count_nor_serve_as_negatives() -> None:
    cf_GD, semantic_GD, _, _ = views(1, 5)
    cf_GD[4] = semantic_GD[4] = 0  # what an empty history gives
    cf_GD.requires_grad_()
    users, has_history = torch.arange(5), torch.tensor([True, True, True, False, False])
    loss = contrastive_loss(cf_GD, semantic_GD, users, has_history, temperature=0.2, step_groups=3)
    without = contrastive_loss(cf_GD[:3], semantic_GD[:3], users[:3], has_history[:3], temperature=0.2, step_groups=3)
    assert loss.item() == pytest.approx(without.item(), rel=1e-6)
    loss.backward()
    assert (cf_GD.grad[3:] == 0).all()
    assert torch.isfinite(cf_GD.grad).all()


def test_nobody_with_history_gives_zero() -> None:
    cf_GD, semantic_GD, user_G, _ = views(2, 3)
    nobody = torch.zeros(3, dtype=torch.bool)
    loss = contrastive_loss(cf_GD.requires_grad_(), semantic_GD, user_G, nobody, temperature=0.2, step_groups=3)
    loss.backward()
    assert loss.item() == 0
    assert (cf_GD.grad == 0).all()


def test_aligned_views_of_many_users_cost_little_and_unrelated_ones_their_logarithm() -> None:
    aligned_GD, everyone = torch.eye(6, dtype=torch.float64), torch.ones(6, dtype=torch.bool)
    same_GD = torch.ones(6, 6, dtype=torch.float64)
    arguments = {"user_G": torch.arange(6), "has_history_G": everyone, "temperature": 0.05, "step_groups": 6}
    assert contrastive_loss(aligned_GD, aligned_GD, **arguments).item() < 1e-6
    assert contrastive_loss(same_GD, same_GD, **arguments).item() == pytest.approx(math.log(6), rel=1e-5)


def match_reference(user_GD: Tensor, item_GCD: Tensor, items: list[list[int]]) -> Tensor:
    """Sum over groups of -log softmax of the positive among the negatives of all groups."""
    total = 0 * (user_GD.sum() + item_GCD.sum())
    for g, (positive, *_) in enumerate(items):
        if positive == -1:
            continue
        target = user_GD[g] @ item_GCD[g, 0]
        exponents = [target.exp()]
        for other, (_, *negatives) in enumerate(items):
            for c, negative in enumerate(negatives, start=1):
                if negative not in (-1, positive):
                    exponents.append((user_GD[g] @ item_GCD[other, c]).exp())
        total = total - (target.exp() / sum(exponents)).log()
    return total


def matches(seed: int, G: int, C: int, D: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, and items of a catalogue so small that negatives often are the positive of their or another group.

    Some groups are padding, and the last candidates of some others.
    """
    generator = torch.Generator().manual_seed(seed)
    user_GD = torch.randn(G, D, generator=generator, dtype=torch.float64)
    item_GCD = torch.randn(G, C, D, generator=generator, dtype=torch.float64)
    item_GC = torch.randint(0, 5, (G, C), generator=generator)
    length_G = torch.randint(0, C + 1, (G,), generator=generator) | torch.randint(0, C + 1, (G,), generator=generator)
    return user_GD, item_GCD, item_GC.masked_fill(torch.arange(C) >= length_G[:, None], -1)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), G=st.integers(1, 6), C=st.integers(1, 4), more=st.integers(0, 3))
def test_match_loss_and_gradient_match_the_loop(seed: int, G: int, C: int, more: int) -> None:
    """Also where other micro-batches hold more groups of the step."""
    user_GD, item_GCD, item_GC = matches(seed, G, C)
    variables = [user_GD.requires_grad_(), item_GCD.requires_grad_()]
    loss = match_loss(user_GD, item_GCD, item_GC, step_groups=G + more)
    expected = match_reference(user_GD, item_GCD, item_GC.tolist()) / (G + more)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)
    actual_gradients, expected_gradients = (torch.autograd.grad(value, variables) for value in (loss, expected))
    for actual, wanted in zip(actual_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-3, atol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), G=st.integers(1, 5), C=st.integers(2, 4))
def test_negatives_that_are_drawn_more_often_count_the_less(seed: int, G: int, C: int) -> None:
    """A logit less the log of its chance is that of a negative whose vector has a coordinate for it."""
    user_GD, item_GCD, item_GC = matches(seed, G, C)
    log_chance_GC = torch.randn(G, C, dtype=torch.float64)
    marked_GD = torch.cat([user_GD, torch.ones(G, 1, dtype=torch.float64)], dim=1)
    mark_GC = -log_chance_GC.index_fill(1, torch.tensor(0), 0.0)  # positives are not drawn
    marked_GCD = torch.cat([item_GCD, mark_GC[..., None]], dim=2)
    expected = match_reference(marked_GD, marked_GCD, item_GC.tolist()) / G
    loss = match_loss(user_GD, item_GCD, item_GC, log_chance_GC, step_groups=G)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)


def test_copies_of_the_positive_are_not_its_negatives() -> None:
    """Of no group's; to the groups of other positives they stay what they are."""
    user_GD, item_GCD, _ = matches(0, 2, 3)

    def loss(items: list[list[int]]) -> float:
        return match_loss(user_GD, item_GCD, torch.tensor(items), step_groups=2).item()

    assert loss([[7, 7, 7], [7, 7, 7]]) == 0
    assert 0 < loss([[7, 7, 7], [8, 7, 7]]) < loss([[7, 7, 6], [8, 7, 7]]) < loss([[7, 5, 6], [8, 5, 6]])


def test_padding_neither_counts_nor_serves_as_a_negative() -> None:
    user_GD, item_GCD, _ = matches(1, 4, 3)
    items = torch.tensor([[0, 1, 2], [3, 4, -1], [5, -1, -1], [-1, -1, -1]])
    variables = [user_GD.requires_grad_(), item_GCD.requires_grad_()]
    loss = match_loss(user_GD, item_GCD, items, step_groups=3)
    without = match_loss(user_GD[:3], item_GCD[:3], items[:3], step_groups=3)
    assert loss.item() == pytest.approx(without.item(), rel=1e-6)
    of_user_GD, of_item_GCD = torch.autograd.grad(loss, variables)
    assert (of_item_GCD[items == -1] == 0).all()
    assert (of_user_GD[3] == 0).all()
    assert (of_item_GCD[items != -1] != 0).any(1).all()
    assert (of_user_GD[:3] != 0).any(1).all()
    changed = item_GCD.masked_fill((items == -1)[..., None], 100.0)
    assert match_loss(user_GD, changed, items, step_groups=3).item() == loss.item()


def test_towers_that_know_nothing_cost_the_logarithm_of_all_that_a_positive_is_among() -> None:
    items = torch.arange(12).view(4, 3)
    nothing_GD, nothing_GCD = torch.zeros(4, 5), torch.zeros(4, 3, 5)
    assert match_loss(nothing_GD, nothing_GCD, items, step_groups=4).item() == pytest.approx(math.log(1 + 8))
    assert match_loss(nothing_GD, nothing_GCD[:, :1], items[:, :1], step_groups=4).item() == 0


def test_match_loss_of_large_products_in_bf16_is_finite() -> None:
    user_GD, item_GCD, item_GC = (tensor.clone() for tensor in matches(2, 4, 3))
    user_bf, item_bf = ((30 * tensor).bfloat16().requires_grad_() for tensor in (user_GD, item_GCD))
    loss = match_loss(user_bf, item_bf, item_GC, step_groups=4)
    assert loss.dtype == torch.float32
    assert loss.item() > 100
    assert all(bool(gradient.isfinite().all()) for gradient in torch.autograd.grad(loss, [user_bf, item_bf]))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), G=st.integers(1, 4), C=st.integers(1, 4))
def test_task_loss_is_the_mean_over_the_candidates_of_the_step(seed: int, G: int, C: int) -> None:
    random = np.random.default_rng(seed)
    padded_groups = random.integers(0, 3)
    nll_GC = np.concatenate([random.exponential(size=(G, C)), np.zeros((padded_groups, C))])
    loss = task_loss(torch.from_numpy(nll_GC), candidates=C, step_groups=G)
    assert loss.item() == pytest.approx(nll_GC[:G].mean())


@pytest.mark.parametrize(("world", "micro_batches"), [(1, 3), (3, 1), (2, 2)])
def test_task_loss_shares_give_the_loss_of_the_step(world: int, micro_batches: int) -> None:
    """The last slice is padding: the ranks' mean of the micro-batches' sum is still that of the ten groups."""
    shares = world * micro_batches
    nll_GC = torch.zeros(shares * 5, 2, dtype=torch.float64)
    nll_GC[:10] = torch.rand(10, 2, dtype=torch.float64)
    losses = [task_loss(part, candidates=2, step_groups=10, world=world) for part in nll_GC.chunk(shares)]
    assert torch.stack(losses).sum().item() / world == pytest.approx(nll_GC[:10].mean().item())
