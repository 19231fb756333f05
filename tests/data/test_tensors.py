"""Tensors of nested dataclasses, and tensors as places among their distinct numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.data.tensors import map_tensors, renumbered


@dataclass(frozen=True)
class Inner:
    value: Tensor
    name: str


@dataclass(frozen=True)
class Outer:
    value: Tensor
    inner: Inner
    nothing: Inner | None
    several: tuple[Inner, ...]


def test_every_tensor_is_changed_and_everything_else_kept() -> None:
    one, two = torch.tensor(1), torch.tensor(2)
    outer = Outer(one, Inner(one, "a"), None, (Inner(one, "b"), Inner(one, "c")))
    changed = map_tensors(outer, lambda tensor: tensor + 1)
    assert changed == Outer(two, Inner(two, "a"), None, (Inner(two, "b"), Inner(two, "c")))
    assert outer.inner.value == 1


def test_a_tensor_in_several_places_is_changed_once() -> None:
    one, seen = torch.tensor(1), []
    changed = map_tensors(Outer(one, Inner(one, "a"), None, (Inner(one, "b"),)), lambda t: (seen.append(t), t + 1)[1])
    assert len(seen) == 1
    assert changed.value is changed.inner.value is changed.several[0].value


def test_numbers_are_renumbered_over_several_tensors() -> None:
    kept_K, (one, other) = renumbered(torch.tensor([[7, 3], [0, 7]]), torch.tensor([9]))
    assert kept_K.tolist() == [0, 3, 7, 9]
    assert (one.tolist(), other.tolist()) == ([[2, 1], [0, 2]], [3])
    kept_K, (nothing,) = renumbered(torch.zeros(0, 4, dtype=torch.int64))
    assert (kept_K.tolist(), nothing.shape) == ([0], (0, 4))
