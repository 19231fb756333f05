"""Cosines of both tasks' gradients: by hand, and beside a training that does not notice."""

from typing import Any

import pytest
import torch
from torch import nn

from gensr_dist.config.root import load_config
from gensr_dist.data.events import Behaviour
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.conflict import ALL, ConflictWatch, cosine, gradient_of, layers_of, products_of
from gensr_dist.train.loop import train
from tests.model.builders import random_batch, tiny_model
from tests.train.small_runs import BUDGET, another_folder, scalars, small_config
from tests.train.test_loop import weights


class TwoTasks(nn.Module):
    """y1 = (shared x) . a and y2 = (shared x) . b."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(2, 2, bias=False)
        self.a = nn.Linear(2, 1, bias=False)
        self.b = nn.Linear(2, 1, bias=False)


@pytest.mark.parametrize(("b", "expected"), [([1.0, 0.0], 1.0), ([-2.0, 0.0], -1.0), ([0.0, 3.0], 0.0)])
def test_planted_conflicts(b: list[float], expected: float) -> None:
    model = TwoTasks()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([[1.0, 0.0]]))
        model.b.weight.copy_(torch.tensor([b]))
    layers, hidden = layers_of(model), model.trunk(torch.ones(2))
    gradients = [gradient_of(head(hidden).sum(), layers, keep_graph=True) for head in (model.a, model.b)]
    products = products_of(gradients, Ranks.alone())
    assert products.keys() == {"trunk", ALL}  # a head of one task is no shared layer
    assert cosine(products["trunk"]) == cosine(products[ALL]) == pytest.approx(expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_has_the_cosine_that_autograd_gives_by_hand() -> None:
    model, config = tiny_model(dropout=0.0), small_config(conflict_every=3)
    inputs = model.inputs(random_batch(seed=1, groups=12), training=True)
    watch = ConflictWatch(model, config, Ranks.alone())
    assert watch.look(0, inputs) is watch.look(3, inputs) is None
    found = watch.look(2, inputs)
    assert found is not None
    by_task: list[dict[str, torch.Tensor]] = []
    for task in Behaviour:
        model.zero_grad(set_to_none=True)
        nll_GC = model(inputs).nll_GC
        nll_GC[inputs.batch.task_G == int(task)].sum().backward()
        by_task.append({name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None})
    shared = [name for name in by_task[0] if name in by_task[1] and all(task[name].any() for task in by_task)]

    def by_hand(prefix: str) -> float:
        own = [name for name in shared if name.startswith(prefix)]
        rec, search = (torch.cat([task[name].double() for name in own]) for task in by_task)
        return float(nn.functional.cosine_similarity(rec, search, dim=0))

    for layer, prefix in {
        ALL: "",
        "token_table": "backbone.t5.shared.",
        "encoder.block.1": "backbone.t5.encoder.block.1.",
        "decoder.block.0": "backbone.t5.decoder.block.0.",
        "cf_filter": "cf_filter.",
        "semantic_history": "semantic_history.",
    }.items():
        assert found[layer] == pytest.approx(by_hand(prefix), abs=1e-5), layer
    assert "term_match" not in found  # which search alone uses
    assert all(-1 <= value <= 1 for value in found.values())


@pytest.mark.parametrize("changes", [{"micro_tokens": BUDGET}, {"precision": "bf16", "activation_checkpointing": True}])
def test_training_does_not_notice(small_run: RunFolder, changes: dict[str, Any]) -> None:
    watched = another_folder(small_run, "watched")
    train(small_config(**changes), small_run)
    train(small_config(**changes, conflict_every=2), watched)
    assert "conflict/all" not in scalars(small_run)
    points = scalars(watched)
    for tag in ("all", "token_table", "encoder.block.0", "cf_history", "semantic_filter"):
        assert {2} <= points[f"conflict/{tag}"].keys() <= {2, 4}, tag  # where both tasks are in the micro-batch
    for name, weight in weights(small_run).items():
        assert torch.equal(weights(watched)[name], weight), name


def test_whole_weights_are_needed() -> None:
    with pytest.raises(InputError, match=r"under train.zero_stage 3 no rank has whole weights"):
        load_config(None, ["train.conflict_every=5", "train.zero_stage=3"])
