"""Co-attention of two histories against loops in float64."""

import torch
from torch import Tensor

from gensr_dist.baselines.layers.co_attention import CoAttention, split_by_weight
from tests.baselines.layers.checks import FAR, assert_close, assert_trains, learnt, normal, softmax

R, S, D = 4, 3, 5
LENGTHS = [(4, 3), (2, 1), (0, 2), (3, 0), (0, 0)]  # of both histories, row by row
G = len(LENGTHS)


def given() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_first, of_second = torch.tensor(LENGTHS).T
    masks = torch.arange(R) < of_first[:, None], torch.arange(S) < of_second[:, None]
    return normal(1, G, R, D), normal(2, G, S, D), *masks


@torch.no_grad()
def test_matches_the_loops() -> None:
    layer = learnt(CoAttention(D))
    first_GRD, second_GSD, *masks = given()
    first_GR, second_GS = layer(first_GRD, second_GSD, *masks)
    for g, (rows, columns) in enumerate(LENGTHS):
        r_RD, s_SD = first_GRD[g, :rows], second_GSD[g, :columns]
        affinity = [[(r_D @ layer.affinity_DD @ s_D).tanh() for s_D in s_SD] for r_D in r_RD]
        nothing = torch.zeros((), dtype=torch.float64)
        of_second = [
            sum((layer.of_first_D @ r_RD[r] * affinity[r][s] for r in range(rows)), nothing) for s in range(columns)
        ]
        of_first = [
            sum((layer.of_second_D @ s_SD[s] * affinity[r][s] for s in range(columns)), nothing) for r in range(rows)
        ]
        for found_X, logits in ((first_GR[g], of_first), (second_GS[g], of_second)):
            expected = softmax(logits) if logits else []
            assert_close(found_X[: len(logits)], torch.tensor(expected, dtype=torch.float64))
            assert (found_X[len(logits) :] == 0).all()


@torch.no_grad()
def test_an_empty_other_side_leaves_equal_shares() -> None:
    first_GR, second_GS = learnt(CoAttention(D))(*given())
    assert_close(first_GR[3], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0], dtype=torch.float64))
    assert_close(second_GS[2], torch.tensor([0.5, 0.5, 0], dtype=torch.float64))


@torch.no_grad()
def test_padding_does_not_matter() -> None:
    layer = learnt(CoAttention(D))
    first_GRD, second_GSD, first_mask_GR, second_mask_GS = given()
    expected = layer(first_GRD, second_GSD, first_mask_GR, second_mask_GS)
    first_GRD = first_GRD.masked_fill(~first_mask_GR[..., None], FAR)
    second_GSD = second_GSD.masked_fill(~second_mask_GS[..., None], FAR)
    for found, wanted in zip(layer(first_GRD, second_GSD, first_mask_GR, second_mask_GS), expected, strict=True):
        assert_close(found, wanted)
    for found, wanted in zip(
        layer(first_GRD[1:2, :2], second_GSD[1:2, :1], first_mask_GR[1:2, :2], second_mask_GS[1:2, :1]),
        expected,
        strict=True,
    ):
        assert_close(found[0], wanted[1, : found.shape[1]])


def test_a_batch_with_empty_sides_trains() -> None:
    layer = learnt(CoAttention(D))
    first_GRD, second_GSD, *masks = given()
    first_GRD.requires_grad_()
    second_GSD.requires_grad_()
    assert_trains(layer, torch.cat(layer(first_GRD, second_GSD, *masks), dim=1))
    for gradient in (first_GRD.grad, second_GSD.grad):
        assert torch.isfinite(gradient).all()
        assert (gradient[0] != 0).any()
        assert (gradient[2:] == 0).all(), "equal shares, whatever the vectors"


def test_similar_and_dissimilar_positions_are_parted_by_an_equal_share() -> None:
    weight_GL = torch.tensor([[0.5, 0.2, 0.3], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1 / 3] * 3])
    mask_GL = weight_GL > 0
    similar_GL, dissimilar_GL = split_by_weight(weight_GL, mask_GL)
    assert similar_GL.int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]
    # One interaction, or equal shares, leave none that is dissimilar: then all are.
    assert dissimilar_GL.int().tolist() == [[0, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]


def test_they_partition_the_history_wherever_both_exist() -> None:
    mask_GL = torch.rand(200, 7, generator=torch.Generator().manual_seed(0)) < 0.7
    logit_GL = normal(5, 200, 7).masked_fill(~mask_GL, -torch.inf)
    weight_GL = logit_GL.softmax(1).nan_to_num()
    similar_GL, dissimilar_GL = split_by_weight(weight_GL, mask_GL)
    assert ((similar_GL | dissimilar_GL) == mask_GL).all()
    assert not (similar_GL & dissimilar_GL)[mask_GL.sum(1) > 1].any()
