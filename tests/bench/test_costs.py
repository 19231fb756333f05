"""Operations, bytes and least time of single operations, counted by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from gensr_dist.bench.costs import Cost, Limits, cost_counter
from gensr_dist.bench.parts import PartTimes

CPU = torch.device("cpu")
LIMITS = Limits(flops=100.0, bytes=10.0)


def cost_of(run: Callable[[], object], limits: Limits = LIMITS) -> Cost:
    with cost_counter(limits) as counted:
        run()
    return counted()


def bytes_of(run: Callable[[], object]) -> int:
    return int(cost_of(run)[1])


def test_a_product_reads_its_factors_and_writes_its_result() -> None:
    a, b = torch.randn(6, 4), torch.randn(4, 10)
    operations, moved = 2 * 6 * 4 * 10, 4 * (24 + 40 + 60)
    assert cost_of(lambda: a @ b).tolist() == [operations, moved, moved / 10]
    assert cost_of(lambda: a @ b, Limits(flops=1.0, bytes=10.0)).tolist() == [operations, moved, operations]


def test_the_least_time_is_that_of_each_operation_not_of_their_sum() -> None:
    a, b = torch.randn(6, 4), torch.randn(4, 10)
    limits = Limits(flops=1.0, bytes=10.0)
    product, sum_ = cost_of(lambda: a @ b, limits), cost_of(lambda: a + a, limits)
    both = cost_of(lambda: (a @ b, a + a), limits)
    assert both.tolist() == (product + sum_).tolist()
    assert both[2] > max(both[0] / limits.flops, both[1] / limits.bytes)


def test_views_and_fresh_memory_are_free_and_repeated_elements_are_read_once() -> None:
    x = torch.randn(6, 4)
    assert bytes_of(lambda: (x.t(), x[1:3], x.view(-1), x.expand(5, 6, 4), torch.empty(9), x.detach())) == 0
    assert bytes_of(lambda: torch.zeros(9)) == 4 * 9
    row = torch.randn(4).expand(6, 4)
    assert bytes_of(lambda: x + row) == 4 * (24 + 4 + 24)
    assert bytes_of(lambda: x.t().contiguous()) == 4 * (24 + 24)


def test_what_is_changed_in_place_is_read_and_written() -> None:
    x, y = torch.randn(6, 4), torch.randn(6, 4)
    assert bytes_of(lambda: x.add_(y)) == 4 * 3 * 24
    assert bytes_of(lambda: x.mul_(2.0)) == 4 * 2 * 24
    assert bytes_of(lambda: x.copy_(y)) == 4 * 2 * 24
    assert bytes_of(lambda: (x.zero_(), x.fill_(1.0), x.bernoulli_(0.5))) == 4 * 3 * 24
    assert bytes_of(lambda: (x.new_zeros(24), torch.ones_like(x))) == 4 * 2 * 24
    assert bytes_of(lambda: torch.add(x, y, out=torch.empty(6, 4))) == 4 * (24 + 24 + 24)
    assert bytes_of(lambda: torch.empty(6, dtype=torch.int64).random_()) == 8 * 6


def test_of_a_table_only_the_rows_in_question_are_touched() -> None:
    table, place = torch.randn(1_000, 4), torch.tensor([3, 5, 3])
    rows, index = 4 * 3 * 4, 8 * 3
    assert bytes_of(lambda: table[place]) == index + 2 * rows
    assert bytes_of(lambda: F.embedding(place, table)) == index + 2 * rows
    assert bytes_of(lambda: table.index_select(0, place)) == index + 2 * rows
    assert bytes_of(lambda: table.take(place)) == index + 2 * 4 * 3
    assert bytes_of(lambda: table.put_(place, torch.ones(3), accumulate=True)) == 3 * (index + 4 * 3) + 4 * 3
    assert bytes_of(lambda: table.index_add_(0, place, torch.ones(3, 4))) == 3 * (index + rows) + rows  # with the ones


def test_adamw_moves_seven_tensors_a_weight() -> None:
    weight = nn.Parameter(torch.randn(100, 50))
    weight.grad = torch.randn(100, 50)
    optimizer = torch.optim.AdamW([weight], fused=True)
    optimizer.step()
    assert bytes_of(optimizer.step) == pytest.approx(7 * 4 * 5_000, rel=0.01)


def test_backward_passes_are_counted() -> None:
    layer = nn.Linear(6, 10, bias=False)
    out = layer(torch.randn(4, 6)).sum()
    cost = cost_of(out.backward)
    assert cost[0] == 2 * 4 * 6 * 10
    assert cost[1] >= 4 * (24 + 60)  # the input and the weight's gradient


def test_costs_of_parts_leave_out_those_of_their_inner_parts() -> None:
    times = PartTimes(CPU)
    inner, outer = nn.Linear(6, 10, bias=False), nn.Linear(10, 2, bias=False)
    times.watch(inner, "forward", "inner")

    def run() -> None:
        inner.weight.grad = outer.weight.grad = None
        with times.part("outer"):
            out = outer(inner(torch.ones(4, 6, requires_grad=True)))
        with times.part("backward"):
            out.sum().backward()

    for _ in range(2):
        costs = times.costs(run, LIMITS)
        operations = {name: cost[0] for name, cost in costs.items()}
        assert operations == {"inner": 480, "outer": 160, "backward": 2 * (480 + 160)}
        assert costs["inner"][1] == 4 * (24 + 60 + 40)
        assert not times.seconds
    assert sum(costs.values(), np.zeros(3))[2] == pytest.approx(cost_of(run)[2])


def test_limits_are_measured() -> None:
    waits: list[None] = []
    limits = Limits.measured(CPU, torch.float32, lambda: waits.append(None))
    assert limits.flops > limits.bytes > 1e8
    assert waits
