"""Two gloo processes train as one: gradients averaged over ranks are those of the whole batch."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from gensr_dist.model.gensr import GenSR
from gensr_dist.model.losses import contrastive_loss, match_loss, task_loss
from tests.forked_ranks import on_ranks
from tests.model.builders import groups_of, random_batch, tiny_model

GROUPS, CANDIDATES, WORLD = 8, 3, 2


def losses(model: GenSR, part: slice, *, world: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    batch = random_batch(4, groups=GROUPS, candidates=CANDIDATES)
    assert len(batch.user_G.unique()) < GROUPS, "a user appears twice"
    # The last group is padding, as in the short last batch of an epoch.
    last = torch.tensor([GROUPS - 1])
    padded = {
        "label_GC": batch.label_GC.index_fill(0, last, -100),
        "history_GL": batch.history_GL.index_fill(0, last, 0),
        "candidate_GC": batch.candidate_GC.index_fill(0, last, 0),
    }
    batch = groups_of(replace(batch, **padded, step_groups=GROUPS - 1), part)
    output = model(model.inputs(batch))
    assert output.match is not None
    scale = {"step_groups": batch.step_groups, "world": world}
    return (
        task_loss(output.nll_GC, candidates=CANDIDATES, **scale),
        contrastive_loss(
            output.user_cf_GD,
            output.user_semantic_GD,
            batch.user_G,
            output.has_history_G,
            temperature=0.3,
            **scale,
        ),
        match_loss(output.match.user_GH, output.match.item_GCH, batch.item_U[batch.candidate_GC], **scale),
    )


def rank_main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    model = tiny_model(dropout=0.0)
    per_rank = GROUPS // WORLD
    values = losses(model, slice(rank * per_rank, (rank + 1) * per_rank), world=WORLD)
    sum(values, torch.zeros(())).backward()
    reported = torch.stack([value.detach() for value in values])
    dist.all_reduce(reported)
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        dist.all_reduce(gradient)
        gradients[name] = gradient / WORLD
    if rank == 0:
        torch.save({"values": reported / WORLD, "gradients": gradients}, folder / "result.pt")
    dist.destroy_process_group()


def test_two_ranks_give_the_value_and_gradient_of_one(tmp_path: Path) -> None:
    on_ranks(WORLD, rank_main, tmp_path)
    two_ranks = torch.load(tmp_path / "result.pt", weights_only=True)
    model = tiny_model(dropout=0.0)
    values = losses(model, slice(None))
    sum(values, torch.zeros(())).backward()
    assert all(value.item() > 0 for value in values)
    torch.testing.assert_close(two_ranks["values"], torch.stack(values).detach(), rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(
            two_ranks["gradients"][name], expected, rtol=1e-4, atol=1e-6 * max(1, expected.abs().max().item()), msg=name
        )


@pytest.mark.parametrize("cuts", [(4,), (2, 4, 6), (1, 7)])
def test_micro_batches_of_any_sizes_add_up_to_the_task_gradient_of_the_whole(cuts: tuple[int, ...]) -> None:
    model = tiny_model(dropout=0.0)
    parameters = [model.cf_projection.weight, model.cf_filter.key_HKD, model.semantic_history.query_key_value.weight]
    whole = torch.autograd.grad(losses(model, slice(None))[0], parameters)
    parts = [losses(model, slice(first, end))[0] for first, end in pairwise((0, *cuts, GROUPS))]
    for actual, expected in zip(torch.autograd.grad(sum(parts), parameters), whole, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
