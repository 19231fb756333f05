import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from gensr_dist.config import Config
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.processes import join_processes
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.objective import StepCheck, StepLosses, joint_losses, step_losses
from gensr_dist.train.signals import Stop
from tests.model.builders import random_batch


def losses(task: float, contrastive: float) -> StepLosses:
    return StepLosses(torch.tensor(task), torch.tensor(contrastive))


def test_total_is_equation_8() -> None:
    assert losses(2.0, 3.0).to_minimise(0.5).item() == 3.5


def test_micro_batches_add_up_to_the_step() -> None:
    join_processes()
    summed = losses(2.0, 8.0) + losses(4.0, 2.0)
    assert summed.of_all_ranks(world=1) == (6.0, 10.0)


def test_a_check_looks_at_every_loss_of_a_step_and_at_the_norm() -> None:
    join_processes()
    check = StepCheck(torch.device("cpu"))
    check.see(losses(1.0, 1.0))
    assert check.agree(torch.tensor(2.0), Stop.NO).finite
    assert check.first_bad() is None
    check.see(losses(1.0, float("inf")))
    check.see(losses(float("nan"), 1.0))
    check.see(losses(1.0, 1.0))
    agreed = check.agree(torch.tensor(2.0), Stop.USR1)
    assert (agreed.losses_finite, agreed.gradient_finite, agreed.stop) == (False, True, Stop.USR1)
    assert check.first_bad() == 1
    assert check.losses_of(1) == (1.0, float("inf"))
    check.begin()
    check.see(losses(1.0, 1.0))
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
        user_semantic_GD=torch.randn(groups, 3, generator=generator),
        has_history_G=torch.ones(groups, dtype=torch.bool),
    )


def test_joint_losses_are_those_of_a_rank_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [random_batch(seed, groups=4, candidates=2) for seed in (1, 2)]
    outputs = [output(len(batch.row_G), seed) for seed, batch in enumerate(batches)]
    config = Config(train=TrainConfig(batch=8))
    seen = list(zip(batches, outputs, strict=True))
    joint = joint_losses(seen, 1, config, world=2)
    (gradient,) = torch.autograd.grad(joint.contrastive, outputs[1].user_cf_GD)

    def all_gather(everyone: list[torch.Tensor], rows: torch.Tensor) -> None:
        field = next(
            i for i, value in enumerate(fields_of(1)) if value.shape == rows.shape and torch.equal(value, rows)
        )
        for place, value in zip(everyone, (fields_of(0)[field], fields_of(1)[field]), strict=True):
            place.copy_(value)

    def fields_of(rank: int) -> list[torch.Tensor]:
        views = [
            F.normalize(view.detach(), dim=-1) for view in (outputs[rank].user_cf_GD, outputs[rank].user_semantic_GD)
        ]
        return [*views, batches[rank].user_G, outputs[rank].has_history_G]

    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    expected = step_losses(outputs[1], batches[1], config, world=2)
    assert joint.task.item() == expected.task.item()
    assert joint.contrastive.item() == expected.contrastive.item()
    (other,) = torch.autograd.grad(expected.contrastive, outputs[1].user_cf_GD)
    assert torch.equal(gradient, other)
