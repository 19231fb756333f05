"""InfoNCE within a batch against loops in float64."""

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.layers.contrast import BilinearContrast, info_nce
from tests.baselines.layers.checks import assert_close, assert_trains, learnt, normal

N, D = 5, 4
SAME_NN = torch.eye(N, dtype=torch.bool)
SAME_NN[0, 2] = SAME_NN[2, 0] = SAME_NN[3, 1] = True  # the last in one direction alone
either = pytest.mark.parametrize("same_NN", [None, SAME_NN], ids=["all", "same"])


def mean_loss(logit_NN: list[list[Tensor]], same_NN: Tensor | None) -> Tensor:
    n = len(logit_NN)
    terms = []
    for i in range(n):
        rows = [logit_NN[i][j] for j in range(n) if i == j or same_NN is None or not same_NN[i, j]]
        columns = [logit_NN[j][i] for j in range(n) if i == j or same_NN is None or not same_NN[j, i]]
        terms += [torch.stack(each).exp().sum().log() - logit_NN[i][i] for each in (rows, columns)]
    return sum(terms) / (2 * n)


@either
@torch.no_grad()
def test_cosines_match_the_loops(same_NN: Tensor | None) -> None:
    left_ND, right_ND = 3 * normal(1, N, D), normal(2, N, D)
    logits = [[a @ b / (a.norm() * b.norm()) / 0.2 for b in right_ND] for a in left_ND]
    assert_close(info_nce(left_ND, right_ND, 0.2, same_NN), mean_loss(logits, same_NN))


@either
def test_the_bilinear_form_matches_the_loops_and_trains(same_NN: Tensor | None) -> None:
    contrast = BilinearContrast(D, 0.3).double()
    assert contrast.log_temperature.exp().item() == pytest.approx(0.3)
    contrast = learnt(contrast)
    tau = contrast.log_temperature.exp()[0]
    left_ND, right_ND = normal(1, N, D), normal(2, N, D)
    logits = [[(a @ contrast.weight_DD @ b).tanh() / tau for b in right_ND] for a in left_ND]
    loss = contrast(left_ND, right_ND, same_NN)
    assert_close(loss, mean_loss(logits, same_NN))
    assert len(list(contrast.parameters())) == 2
    assert_trains(contrast, loss)


@either
def test_the_diagonal_stays_whatever_is_the_same(same_NN: Tensor | None) -> None:
    """Marked there or not, a pair is its own positive."""
    left_ND, right_ND = normal(1, N, D), normal(2, N, D)
    off_NN = SAME_NN & ~torch.eye(N, dtype=torch.bool)
    assert_close(info_nce(left_ND, right_ND, 0.2, off_NN), info_nce(left_ND, right_ND, 0.2, SAME_NN))
    assert info_nce(left_ND, right_ND, 0.2, torch.ones(N, N, dtype=torch.bool)) == 0


def test_pairs_alike_lose_less_than_pairs_of_strangers() -> None:
    left_ND = torch.eye(N, D + 1, dtype=torch.float64)
    assert info_nce(left_ND, left_ND, 0.1) < 0.01 < info_nce(left_ND, left_ND.roll(1, 0), 0.1)


def test_few_or_empty_rows_and_half_precision_are_finite() -> None:
    contrast = BilinearContrast(D, 0.01)
    for rows in (0, 1, 3):
        left_ND = torch.zeros(rows, D, requires_grad=True)
        for loss in (info_nce(left_ND, left_ND, 0.01), contrast(left_ND, left_ND)):
            assert loss.item() == pytest.approx(torch.tensor(float(max(rows, 1))).log().item(), abs=1e-6)
            loss.backward()
            assert torch.isfinite(left_ND.grad).all()
    half_ND = normal(1, N, D).bfloat16()
    assert info_nce(half_ND, half_ND, 0.01).dtype == torch.float32
