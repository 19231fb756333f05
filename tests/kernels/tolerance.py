"""The rule by which a kernel is judged: its error beside that of unfused code in the same precision."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

FORWARD, BACKWARD = 2.0, 5.0  # allowed error, in errors of the unfused code

Op = Callable[..., Tensor]  # of the tensors that it is differentiated by


def check_op(fused: Op, unfused: Op, exact: Op, inputs: Sequence[Tensor]) -> None:
    """Result and gradients of `fused` against the equation in float64.

    Args:
        fused: what is judged.
        unfused: the same in plain torch.
        exact: the equation, written independently of both.
        inputs: in the precision to compute in.
    """
    generator = torch.Generator().manual_seed(0)
    runs: list[list[Tensor]] = []
    out_weight: Tensor | None = None
    for op, dtype in ((exact, torch.float64), (unfused, inputs[0].dtype), (fused, inputs[0].dtype)):
        leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
        out = op(*leaves)
        if out_weight is None:
            out_weight = torch.randn(out.shape, generator=generator).to(inputs[0])
        gradients = torch.autograd.grad(out, leaves, out_weight.to(out), materialize_grads=True)
        runs.append([out.detach(), *gradients])
    for number, (true, plain, ours) in enumerate(zip(*runs, strict=True)):
        assert_as_exact_as_unfused(ours, plain, true, FORWARD if number == 0 else BACKWARD)


def assert_as_exact_as_unfused(fused: Tensor, unfused: Tensor, exact: Tensor, factor: float) -> None:
    """Largest errors against float64; what rounding the exact result costs is granted to both."""
    assert fused.dtype == unfused.dtype
    assert fused.shape == unfused.shape == exact.shape
    assert exact.dtype == torch.float64
    assert torch.isfinite(fused).all()
    if exact.numel() == 0:
        return
    rounding = torch.finfo(fused.dtype).eps * exact.abs().max()
    allowed = factor * torch.maximum((unfused.double() - exact).abs().max(), rounding)
    error = (fused.double() - exact).abs().max()
    assert error <= allowed, f"error {error:.3g}, allowed {allowed:.3g}"
