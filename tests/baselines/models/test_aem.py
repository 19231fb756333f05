"""AEM and ZAM: the query's attention over the history, by loops in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.baselines.layers.checks import assert_close, learnt
from tests.baselines.models.planted import build, query_vector, random_rows

HEADS = 2


def attended(model: Any, query_D: Tensor, items: list[Tensor], zero: bool) -> Tensor:
    """exp(s_l) v_l / ([1 +] sum exp(s)), head by head."""
    parts = model.attention.attention
    width = len(query_D) // HEADS
    out_D = torch.zeros_like(query_D)
    for start in range(0, len(query_D), width):
        part = slice(start, start + width)
        powers = [
            torch.exp((parts.query.weight @ query_D)[part] @ (parts.key.weight @ item_D)[part] / width**0.5)
            for item_D in items
        ]
        for power, item_D in zip(powers, items, strict=True):
            out_D[part] += power / (sum(powers) + zero) * (parts.value.weight @ item_D)[part]
    return parts.out.weight @ out_D


@pytest.mark.parametrize("name", ["aem", "zam"])
@torch.no_grad()
def test_equals_its_equation(name: str) -> None:
    model: Any = learnt(build(name))
    batch = random_rows(4)
    score_GC = model.score(batch)
    for group in range(len(score_GC)):
        query_D = query_vector(model, batch.query_GQ[group])
        items = [model.items.table.weight[slot - 1] for slot in batch.history_GL[group].tolist() if slot]
        intent_D = (query_D + attended(model, query_D, items, name == "zam")) / 2
        if name == "aem" and not items:
            intent_D = query_D
        for place, slot in enumerate(batch.candidate_GC[group].tolist()):
            assert_close(score_GC[group, place], intent_D @ model.items.table.weight[slot - 1] + model.bias_I[slot - 1])


@pytest.mark.parametrize("name", ["aem", "zam"])
@torch.no_grad()
def test_without_a_history_it_is_qem_with_the_same_weights(name: str) -> None:
    """ZAM halves f(q), so that it orders as QEM where items have no bias."""
    model: Any = learnt(build(name))
    model.bias_I.zero_()
    qem = build("qem").double()
    qem.load_state_dict({key: value for key, value in model.state_dict().items() if "attention" not in key})
    batch = random_rows(5)
    batch.history_GL.zero_()
    scale = 2 if name == "zam" else 1
    assert_close(scale * model.score(batch), qem.score(batch))


@torch.no_grad()
def test_the_order_of_the_history_does_not_matter() -> None:
    model = learnt(build("aem"))
    batch = random_rows(6)
    expected = model.score(batch)
    batch.history_GL[-1] = batch.history_GL[-1].flip(0)
    assert_close(model.score(batch), expected)
