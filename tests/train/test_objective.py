import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from gensr_dist.config.root import Config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.distributed.ranks import join_processes
from gensr_dist.distributed.signals import Stop
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.model.losses import contrastive_loss, match_loss
from gensr_dist.model.match import Match
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.objective import LossValues, StepCheck, StepLosses, compares_rows, joint_losses, step_losses
from tests.model.builders import random_batch

SETTINGS = TrainConfig(contrastive_weight=0.5, match_weight=0.25)
INF, NAN = float("inf"), float("nan")


def losses(task: float, contrastive: float, match: float) -> StepLosses:
    return StepLosses(torch.tensor(task), torch.tensor(contrastive), torch.tensor(match))


def test_what_is_minimised_is_equation_8_and_the_match_loss_by_their_weights() -> None:
    assert losses(2.0, 3.0, 8.0).to_minimise(SETTINGS).item() == 5.5
    assert LossValues(2.0, 3.0, 8.0).to_minimise(SETTINGS) == 5.5
    unweighted = dataclasses.replace(SETTINGS, contrastive_weight=0.0, match_weight=0.0)
    assert (
        losses(2.0, 3.0, 8.0).to_minimise(unweighted).item() == LossValues(2.0, 3.0, 8.0).to_minimise(unweighted) == 2.0
    )


def test_the_gradient_of_each_loss_has_its_weight() -> None:
    each = [torch.tensor(value, requires_grad=True) for value in (2.0, 3.0, 8.0)]
    StepLosses(*each).to_minimise(SETTINGS).backward()
    assert [loss.grad.item() for loss in each if loss.grad is not None] == [1.0, 0.5, 0.25]


def test_losses_as_numbers() -> None:
    assert losses(2.0, 8.0, 3.0).values() == LossValues(task=2.0, contrastive=8.0, match=3.0)
    assert StepLosses.zero(torch.device("cpu")).values() == LossValues(0.0, 0.0, 0.0)


def test_micro_batches_add_up_to_the_step() -> None:
    join_processes()
    summed = losses(2.0, 8.0, 1.0) + losses(4.0, 2.0, 2.0)
    assert summed.of_all_ranks(world=1) == LossValues(task=6.0, contrastive=10.0, match=3.0)


def test_the_losses_of_a_step_are_the_mean_of_the_ranks_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    other = torch.tensor([4.0, 2.0, 6.0], dtype=torch.float64)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda shares: shares.add_(other))
    assert losses(2.0, 8.0, 1.0).of_all_ranks(world=2) == LossValues(task=3.0, contrastive=5.0, match=3.5)


def test_a_sum_of_losses_holds_no_pass_of_the_micro_batch_added_to_it() -> None:
    loss = torch.ones((), requires_grad=True)
    summed = StepLosses.zero(torch.device("cpu")) + StepLosses(2 * loss, 3 * loss, 4 * loss)
    assert not any(each.requires_grad for each in (*summed.each(), *StepLosses(loss, loss, loss).detached().each()))


@pytest.mark.parametrize("bad", [(NAN, 1.0, 1.0), (1.0, INF, 1.0), (1.0, 1.0, INF), (1.0, 1.0, NAN)])
def test_a_check_looks_at_every_loss_of_a_step_and_at_the_norm(bad: tuple[float, float, float]) -> None:
    join_processes()
    check = StepCheck(torch.device("cpu"))
    check.see(losses(1.0, 1.0, 1.0))
    assert check.agree(torch.tensor(2.0), Stop.NO).finite
    assert check.first_bad() is None
    check.see(losses(*bad))
    check.see(losses(NAN, 2.0, 2.0))
    check.see(losses(1.0, 1.0, 1.0))
    agreed = check.agree(torch.tensor(2.0), Stop.USR1)
    assert (agreed.losses_finite, agreed.gradient_finite, agreed.stop) == (False, True, Stop.USR1)
    assert check.first_bad() == 1
    assert repr(check.losses_of(1)) == repr(LossValues(*bad))
    assert check.losses_of(3) == LossValues(1.0, 1.0, 1.0)
    check.begin()
    check.see(losses(1.0, 1.0, 1.0))
    assert check.first_bad() is None
    for norm in ("nan", "inf"):
        agreed = check.agree(torch.tensor(float(norm)), Stop.NO)
        assert (agreed.losses_finite, agreed.gradient_finite) == (True, False)


def output(groups: int, seed: int) -> GenSROutput:
    """A random one with two candidates a group and width 3."""
    generator = torch.Generator().manual_seed(seed)
    return GenSROutput(
        nll_GC=torch.rand(groups, 2, generator=generator),
        yes_log_odds_GC=torch.zeros(groups, 2),
        user_cf_GD=torch.randn(groups, 3, generator=generator).requires_grad_(),
        user_semantic_GD=torch.randn(groups, 3, generator=generator).requires_grad_(),
        has_history_G=torch.ones(groups, dtype=torch.bool),
        match=Match(
            torch.randn(groups, 3, generator=generator).requires_grad_(),
            torch.randn(groups, 2, 3, generator=generator).requires_grad_(),
        ),
    )


def two_ranks() -> list[tuple[Batch, GenSROutput]]:
    """What two ranks see of a step; to the first one, a candidate is padding."""
    batches = [random_batch(seed, groups=4, candidates=2) for seed in (1, 2)]
    batches[0].candidate_GC[3, 1] = 0
    return [(batch, output(len(batch.row_G), seed)) for seed, batch in enumerate(batches)]


@pytest.mark.parametrize("rank", [0, 1])
def test_joint_losses_are_those_of_a_rank_among_others(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, config = two_ranks(), Config(train=TrainConfig(batch=8))
    own = seen[rank][1]
    assert own.match is not None
    variables = [own.user_cf_GD, own.user_semantic_GD, own.match.user_GH, own.match.item_GCH]
    joint = joint_losses(seen, rank, config, world=2)

    def all_gather(everyone: list[torch.Tensor], rows: torch.Tensor) -> None:
        field = next(
            i for i, value in enumerate(shared(rank)) if value.shape == rows.shape and torch.equal(value, rows)
        )
        for place, value in zip(everyone, (shared(0)[field], shared(1)[field]), strict=True):
            place.copy_(value)

    def shared(of: int) -> list[torch.Tensor]:
        batch, given = seen[of]
        assert given.match is not None
        views = [F.normalize(view.detach(), dim=-1) for view in (given.user_cf_GD, given.user_semantic_GD)]
        item_GC = batch.item_U[batch.candidate_GC]
        chance_GC = batch.log_chance_GC
        return [*views, batch.user_G, given.has_history_G, *(v.detach() for v in given.match), item_GC, chance_GC]

    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    expected = step_losses(own, seen[rank][0], config, world=2)
    for name in ("task", "contrastive", "match"):
        assert getattr(joint, name).item() == getattr(expected, name).item() > 0, name
    for pair in ((joint.contrastive, expected.contrastive), (joint.match, expected.match)):
        gradients = [torch.autograd.grad(loss, variables, materialize_grads=True) for loss in pair]
        for actual, wanted in zip(*gradients, strict=True):
            assert torch.equal(actual, wanted)
        assert sum(bool(gradient.any()) for gradient in gradients[0]) == 2


def test_ranks_together_have_the_losses_and_gradients_of_one() -> None:
    """Each share is scaled so that DeepSpeed's mean over the ranks is right."""
    seen, config = two_ranks(), Config(train=TrainConfig(batch=8))
    variables = [
        vectors for _, given in seen for vectors in (given.user_cf_GD, given.user_semantic_GD, *(given.match or ()))
    ]
    whole = [
        contrastive_loss(
            torch.cat([given.user_cf_GD for _, given in seen]),
            torch.cat([given.user_semantic_GD for _, given in seen]),
            torch.cat([batch.user_G for batch, _ in seen]),
            torch.cat([given.has_history_G for _, given in seen]),
            temperature=config.train.temperature,
            step_groups=4,
        ),
        match_loss(
            torch.cat([given.match.user_GH for _, given in seen if given.match]),
            torch.cat([given.match.item_GCH for _, given in seen if given.match]),
            torch.cat([batch.item_U[batch.candidate_GC] for batch, _ in seen]),
            step_groups=4,
        ),
    ]
    for place, name in enumerate(("contrastive", "match")):
        shares = []
        for own in (0, 1):  # as in the replay, the other's rows have no gradient
            alone = [pair if rank == own else (pair[0], _without_gradient(pair[1])) for rank, pair in enumerate(seen)]
            shares.append(getattr(joint_losses(alone, own, config, world=2), name))
        for share in shares:
            torch.testing.assert_close(share, whole[place])
        mean = torch.autograd.grad(sum(shares) / 2, variables, materialize_grads=True)
        wanted = torch.autograd.grad(whole[place], variables, materialize_grads=True)
        for actual, expected in zip(mean, wanted, strict=True):
            torch.testing.assert_close(actual, expected)


def _without_gradient(given: GenSROutput) -> GenSROutput:
    assert given.match is not None
    return dataclasses.replace(
        given,
        user_cf_GD=given.user_cf_GD.detach(),
        user_semantic_GD=given.user_semantic_GD.detach(),
        match=Match(*(vectors.detach() for vectors in given.match)),
    )


@pytest.mark.parametrize(
    ("model", "train", "contrastive", "match"),
    [
        ({}, {}, True, True),
        ({}, {"contrastive_weight": 0.0}, False, True),
        ({}, {"match_weight": 0.0}, True, False),
        ({}, {"contrastive_weight": 0.0, "match_weight": 0.0}, False, False),
        ({"match": False}, {}, True, False),
        ({"match": False}, {"contrastive_weight": 0.0}, False, False),
        ({"cf_view": False}, {}, False, True),
        ({"semantic_view": False, "match": False}, {}, False, False),
    ],
)
def test_a_loss_without_weight_views_or_towers_is_nothing(
    model: dict[str, bool], train: dict[str, float], contrastive: bool, match: bool
) -> None:
    config = Config(model=ModelConfig(**model), train=TrainConfig(batch=4, **train))  # type: ignore[arg-type]
    batch, given = two_ranks()[0]
    if not config.model.match:
        given = dataclasses.replace(given, match=None)
    found = step_losses(given, batch, config, world=1).detached().values()
    assert found.task > 0
    assert (found.contrastive > 0) is contrastive
    assert (found.match > 0) is match
    assert compares_rows(config) is (contrastive or match)
    assert found == joint_losses([(batch, given)], 0, config, world=1).detached().values()
