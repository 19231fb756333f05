import math

import numpy as np
import pytest
import torch

from gensr_dist.analysis.information.bounds import log_mean_exp, mine_objective, moving_average, parts


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 scores [2, 7, 7], and pairs apart of which some examples share a group."""
    score_MBB = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 7, 7)))
    group_B = torch.tensor([0, 0, 1, 2, 3, 3, 3])
    return score_MBB, (group_B[:, None] != group_B).expand(2, 7, 7)


def reference(bound: str, score_BB: np.ndarray, apart_BB: np.ndarray) -> float:
    """The formulas, pair by pair."""
    size = len(score_BB)
    joint = np.mean([score_BB[b, b] for b in range(size)])
    others = [score_BB[b, c] for b in range(size) for c in range(size) if apart_BB[b, c]]
    if bound == "MINE":
        return float(joint - math.log(np.mean(np.exp(others))))
    if bound == "NWJ":
        return float(joint + 1 - np.mean(np.exp(others)))
    rows = []
    for b in range(size):
        rivals = [score_BB[b, c] for c in range(size) if apart_BB[b, c] or b == c]
        rows.append(score_BB[b, b] - math.log(np.mean(np.exp(rivals))))
    return float(np.mean(rows))


@pytest.mark.parametrize("bound", ["MINE", "InfoNCE", "NWJ"])
def test_parts_have_the_bound_as_their_mean(bound: str) -> None:
    score_MBB, apart_MBB = drawn()
    found_M = parts(bound, score_MBB, apart_MBB).mean(1)
    for score_BB, apart_BB, found in zip(score_MBB.numpy(), apart_MBB.numpy(), found_M, strict=True):
        assert float(found) == pytest.approx(reference(bound, score_BB, apart_BB), abs=1e-12)


@pytest.mark.parametrize("bound", ["MINE", "NWJ"])
def test_parts_are_the_influence_of_an_example(bound: str) -> None:
    """An example that weighs a little more moves the bound by its part less the mean."""
    score_BB = np.random.default_rng(1).normal(size=(6, 6))
    apart_BB = ~np.eye(6, dtype=bool)
    part_B = parts(bound, torch.from_numpy(score_BB)[None], torch.from_numpy(apart_BB)[None])[0].numpy()

    def weighted(weight_B: np.ndarray) -> float:
        pair_BB = np.outer(weight_B, weight_B) * apart_BB
        mean = (pair_BB * np.exp(score_BB)).sum() / pair_BB.sum()
        joint = weight_B @ score_BB.diagonal() / weight_B.sum()
        return float(joint - (math.log(mean) if bound == "MINE" else mean - 1))

    step = 1e-6
    for place in range(6):
        weight_B = np.ones(6)
        weight_B[place] += step
        slope = (weighted(weight_B) - weighted(np.ones(6))) / step * 6
        assert slope == pytest.approx(part_B[place] - part_B.mean(), abs=1e-3)


def test_infonce_never_exceeds_the_logarithm_of_its_batch() -> None:
    score_1BB = 50 * torch.eye(9)[None]
    assert float(parts("InfoNCE", score_1BB, ~torch.eye(9, dtype=torch.bool)[None]).mean()) <= math.log(9) + 1e-6


def test_gradient_of_mine_divides_by_the_moving_average() -> None:
    score_MBB, apart_MBB = drawn()
    score_MBB.requires_grad_(True)
    log_average_M = torch.tensor([0.3, -0.7], dtype=torch.float64)
    mine_objective(score_MBB, apart_MBB, log_average_M).sum().backward()
    pairs_M11 = apart_MBB.sum((1, 2), keepdim=True)
    hand_MBB = (
        torch.eye(7, dtype=torch.float64) / 7
        - apart_MBB * score_MBB.detach().exp() / pairs_M11 / (log_average_M.exp()[:, None, None])
    )
    torch.testing.assert_close(score_MBB.grad, hand_MBB)


def test_gradient_of_mine_is_that_of_the_bound_where_the_average_is_the_batch() -> None:
    score_MBB, apart_MBB = drawn()
    score_MBB.requires_grad_(True)
    (plain,) = torch.autograd.grad(parts("MINE", score_MBB, apart_MBB).mean(1).sum(), score_MBB)
    average_M = log_mean_exp(score_MBB, apart_MBB).detach()
    (corrected,) = torch.autograd.grad(mine_objective(score_MBB, apart_MBB, average_M).sum(), score_MBB)
    torch.testing.assert_close(plain, corrected)


def test_moving_average() -> None:
    first = torch.tensor([2.0]).log()
    assert moving_average(None, first, 0.1).exp().item() == pytest.approx(2)
    assert moving_average(first, torch.tensor([12.0]).log(), 0.1).exp().item() == pytest.approx(3)
