"""Operations and seconds of parts, and what torch's counter counts."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from gensr_dist.bench.parts import PartTimes, operation_counter

CPU = torch.device("cpu")


def count_operations(run: Callable[[], object]) -> int:
    with operation_counter() as counted:
        run()
    return counted()


def test_operations_of_parts_leave_out_those_of_their_inner_parts() -> None:
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
        operations = times.operations(run)
        assert operations == {"inner": 480, "outer": 160, "backward": 2 * (480 + 160)}
        assert not times.seconds


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_is_counted_forward_and_backward(dropout: float) -> None:
    query, key, value = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7, 7))
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    out = []
    forward = count_operations(
        lambda: out.append(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout))
    )
    products = 2 * 2 * 3 * 5 * 7 * 8  # of one of both
    assert forward == 2 * products
    backward = count_operations(lambda: out[0].sum().backward())
    # Without dropout one kernel does it, which forms the scores again.
    assert backward == (4 if dropout else 5) * products


def test_products_added_in_place_are_counted() -> None:
    total, left, right = torch.zeros(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    assert count_operations(lambda: total.baddbmm_(left, right)) == 2 * 2 * 3 * 4 * 5


def test_linear_layers_are_counted() -> None:
    layer = torch.nn.Linear(6, 10)
    assert count_operations(lambda: layer(torch.randn(4, 6))) == 2 * 4 * 6 * 10


def test_parts_leave_out_what_their_inner_parts_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 4.0, 8.0, 10.0])
    monkeypatch.setattr("gensr_dist.bench.parts.time.perf_counter", lambda: next(clock))
    times = PartTimes(CPU)
    layer = torch.nn.Identity()
    times.watch(layer, "forward", "inner")
    with times.part("outer"):  # 0 to 10
        layer(1)  # 1 to 3
        layer(1)  # 4 to 8
    assert times.seconds == {"inner": 6.0, "outer": 4.0}
    assert times.shares() == {"inner": 0.6, "outer": 0.4}
