"""Which operations are measured, on what, and beside what.

Dimensions as in `kernels/soft_filter/op.py`: G groups, C candidates, H heads, M = C x H, N history positions, D width;
R rows.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.kernels.rms_norm.reference import rms_norm_reference
from gensr_dist.kernels.soft_filter.op import soft_filter
from gensr_dist.kernels.soft_filter.reference import soft_filter_reference
from gensr_dist.model.dropout import dropout
from gensr_dist.model.soft_filter import SoftFilter

_EPS = 1e-6
_RATE = 0.1  # of dropout
_TOKENS = 16  # of a candidate's block
_MOST_ROWS = 2**18  # of norm, gate and dropout


@dataclass(frozen=True)
class GroupShape:
    """A batch of groups; norm, gate and dropout have the rows of its candidates' tokens."""

    G: int
    C: int
    H: int
    N: int
    D: int

    def __str__(self) -> str:
        return " ".join(f"{name}={size}" for name, size in dataclasses.asdict(self).items())


CPU_SHAPES = (
    GroupShape(128, 5, 4, 20, 64),
    GroupShape(128, 5, 4, 20, 128),
    GroupShape(128, 5, 4, 20, 512),
    GroupShape(8, 100, 4, 20, 64),
    GroupShape(8, 100, 4, 20, 128),
    GroupShape(8, 100, 4, 20, 512),
    GroupShape(16, 5, 4, 200, 128),
)
GPU_SHAPES = (  # so large that the host queues calls faster than the device ends them, and that no cache holds them
    GroupShape(65_536, 5, 4, 20, 64),
    GroupShape(16_384, 5, 4, 20, 768),
    GroupShape(16_384, 5, 12, 20, 768),
    GroupShape(16_384, 5, 4, 50, 512),
    GroupShape(2_048, 5, 4, 400, 768),
    GroupShape(1_024, 100, 4, 20, 768),
)


@dataclass(frozen=True, kw_only=True)
class KernelCase:
    """One operation on tensors; `fused` and `plain` take them and give the same, or draw by the same chances."""

    op: str
    beside: str = "unfused"
    shape: str
    fused: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]  # differentiated by
    forward_elements: int
    backward_elements: int


def kernel_cases(shape: GroupShape, dtype: torch.dtype, device: torch.device, path: KernelPath) -> Iterator[KernelCase]:
    """Every operation that a path has, on random tensors of a shape."""
    G, C, H, N, D = dataclasses.astuple(shape)
    M, R = C * H, min(_MOST_ROWS, G * C * _TOKENS)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, device=device, dtype=dtype).requires_grad_()

    mask_GN = torch.ones(G, N, dtype=torch.bool, device=device)
    yield KernelCase(
        op="soft_filter",
        shape=str(shape),
        fused=lambda query, history: soft_filter(query, history, mask_GN),
        plain=lambda query, history: soft_filter_reference(query, history, mask_GN),
        inputs=((draw(G, M, D) * D**-0.5).detach().requires_grad_(), draw(G, N, D)),
        forward_elements=G * (2 * M + N) * D,
        backward_elements=G * (3 * M + 2 * N) * D,
    )
    layer = SoftFilter(D, H).to(device, dtype)

    def layer_beside(beside: str, plain: Callable[..., Tensor]) -> KernelCase:
        return KernelCase(
            op="soft_filter_layer",  # with its projections
            beside=beside,
            shape=str(shape),
            fused=lambda candidate, history, *_: layer(candidate, history, mask_GN),
            plain=lambda candidate, history, *weights: plain(candidate, history, mask_GN, *weights),
            inputs=(draw(G, C, D), draw(G, N, D), layer.query_HKD, layer.key_HKD, layer.value_HKD),
            forward_elements=G * (2 * C + N) * D + 3 * D * D,
            backward_elements=G * (3 * C + 2 * N) * D + 6 * D * D,
        )

    yield layer_beside("a history a group", _plain_layer)
    yield layer_beside("a history a candidate", _plainest_layer)
    yield KernelCase(
        op="rms_norm",
        shape=f"R={R} D={D}",
        fused=lambda x, weight: rms_norm(x, weight, _EPS),
        plain=lambda x, weight: rms_norm_reference(x, weight, _EPS),
        inputs=(draw(R, D), draw(D)),
        forward_elements=2 * R * D,
        backward_elements=3 * R * D,
    )
    if device.type == "cpu":  # on GPUs it is torch's
        yield KernelCase(
            op="dropout",
            beside="torch's own",
            shape=f"R={R} D={D}",
            fused=lambda x: dropout(x, _RATE),
            plain=lambda x: F.dropout(x, _RATE),
            inputs=(draw(R, D),),
            forward_elements=2 * R * D,
            backward_elements=2 * R * D,
        )
    if path == "triton":  # the torch path is the unfused code
        yield KernelCase(
            op="gated_gelu",
            shape=f"R={R} D={2 * D}",
            fused=gated_gelu,
            plain=lambda gate, value: F.gelu(gate, approximate="tanh") * value,
            inputs=(draw(R, 2 * D), draw(R, 2 * D)),
            forward_elements=6 * R * D,
            backward_elements=10 * R * D,
        )


def _plain_layer(
    candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor, query_HKD: Tensor, key_HKD: Tensor, value_HKD: Tensor
) -> Tensor:
    """Eq. 5 and 6 as they are written: keys and values of the history are projected, candidates attend to them."""
    H, K, _ = query_HKD.shape

    def project(x_GND: Tensor, weight_HKD: Tensor) -> Tensor:
        return F.linear(x_GND, weight_HKD.flatten(0, 1)).unflatten(-1, (H, K)).transpose(1, 2)

    score_GHCN = project(candidate_GCD, query_HKD) @ project(history_GND, key_HKD).transpose(-1, -2) / K**0.5
    score_GHCN = score_GHCN.masked_fill(~mask_GN[:, None, None], torch.finfo(score_GHCN.dtype).min)
    out_GHCK = score_GHCN.softmax(-1) @ project(history_GND, value_HKD)
    return out_GHCK.transpose(1, 2).flatten(2) * mask_GN.any(1)[:, None, None]


def _plainest_layer(candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor, *weights: Tensor) -> Tensor:
    """The same for each candidate on its own: the history stands [G C, N, D] times in memory."""
    G, C, D = candidate_GCD.shape
    history_XND, mask_XN = history_GND.repeat_interleave(C, 0), mask_GN.repeat_interleave(C, 0)
    return _plain_layer(candidate_GCD.reshape(G * C, 1, D), history_XND, mask_XN, *weights).view(G, C, D)
