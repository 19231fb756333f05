"""torch's Adam and AdamW without torch's compiler, which takes seconds to import.

torch imports it when an optimizer is built and at each step, to keep the optimizer out of compiled programs. Nothing
here compiles a step.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Adam, AdamW, Optimizer


def _without_compiler(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step that torch wraps, which records no gradients either."""

    @functools.wraps(step)
    def plain_step(self: Optimizer, *arguments: Any, **options: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *arguments, **options)

    return plain_step


def _leave_out_compiler() -> None:
    """Other releases may wrap nothing: then nothing is left out."""
    for name in ("add_param_group", "state_dict", "load_state_dict"):
        plain = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if plain is not None:
            plain.__dynamo_disable = plain  # where torch looks for what its compiler made of the function
    for kind in (Adam, AdamW):
        plain = getattr(vars(kind).get("step"), "__wrapped__", None)
        if plain is not None:
            kind.step = _without_compiler(plain)  # type: ignore[method-assign]


_leave_out_compiler()

__all__ = ["Adam", "AdamW"]
