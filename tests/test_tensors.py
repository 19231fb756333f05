"""Tensors of nested dataclasses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.tensors import map_tensors


@dataclass(frozen=True)
class Inner:
    value: Tensor
    name: str


@dataclass(frozen=True)
class Outer:
    value: Tensor
    inner: Inner
    several: tuple[Inner, ...]
    nothing: Inner | None


def test_every_tensor_is_changed_and_everything_else_kept() -> None:
    one = torch.tensor(1)
    outer = Outer(one, Inner(one, "a"), (Inner(one, "b"), Inner(one, "c")), None)
    changed = map_tensors(outer, lambda tensor: tensor + 1)
    assert changed == Outer(
        torch.tensor(2),
        Inner(torch.tensor(2), "a"),
        (Inner(torch.tensor(2), "b"), Inner(torch.tensor(2), "c")),
        None,
    )
    assert outer.several[0].value == 1
