"""The soft filter's pooling on GPUs: which programs run, with which tiles. Dimensions as in `op.py`.

One program owns a group where its positions and queries fit one tile each. Longer histories, and groups of many
queries, keep the weights and the scores' gradients [G, M, N] between the programs of the backward pass, 2 M N elements
beside the 3 M D + 2 N D that it must move: the order of each sum stays fixed, without atomics.

Tiles were chosen so that programs compiled for an H100 or H200 keep everything in registers, and need no more shared
memory than the smallest GPU since Ampere has. Their speed on a GPU is yet to be measured: `gensr bench kernels`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gensr_dist.kernels.plan import Plan, power_of_two, tiles_of
from gensr_dist.kernels.soft_filter import triton_kernels as programs

_LEAST = 16  # of each side of a factor: what a matrix unit takes
_POOL_POSITIONS = 128  # longest history whose scores stay in registers, forward
_GRADIENT_POSITIONS = 64  # backward, where there are twice as many
_GRADIENT_QUERIES = 64


def pool_history_triton(query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
    """`soft_filter` for float32, bfloat16 and float16 on a GPU, or in Triton's interpreter."""
    return _PoolHistory.apply(query_GMD, history_GND, mask_GN)


class _PoolHistory(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor) -> Tensor:
        query_GMD, history_GND = query_GMD.contiguous(), history_GND.contiguous()
        byte_GN = mask_GN.contiguous().view(torch.uint8)
        G, M, _ = query_GMD.shape
        N = mask_GN.shape[1]
        pooled_GMD = torch.empty_like(query_GMD)
        # Not their log-sum-exp: its rounding would be an error of every weight alike.
        highest_GM, denominator_GM = torch.empty(2, G, M, dtype=torch.float32, device=query_GMD.device)
        tensors = (query_GMD, history_GND, byte_GN, pooled_GMD, highest_GM, denominator_GM)
        pool_plan(query_GMD, N).launch(*tensors, M, N)
        ctx.save_for_backward(*tensors)
        return pooled_GMD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_pooled_GMD: Tensor) -> tuple[Tensor, Tensor, None]:
        query_GMD, history_GND, byte_GN, pooled_GMD, highest_GM, denominator_GM = ctx.saved_tensors
        d_pooled_GMD = d_pooled_GMD.contiguous()
        G, M, _ = query_GMD.shape
        N = byte_GN.shape[1]
        d_query_GMD, d_history_GND = torch.empty_like(query_GMD), torch.empty_like(history_GND)
        if 0 < M <= _GRADIENT_QUERIES and N <= _GRADIENT_POSITIONS:
            gradients_plan(query_GMD, N).launch(
                query_GMD, history_GND, byte_GN, d_pooled_GMD, d_query_GMD, d_history_GND, M, N
            )
            return d_query_GMD, d_history_GND, None
        weight_GMN, d_score_GMN = query_GMD.new_empty(2, G, M, N)
        weights_plan(query_GMD, N).launch(
            *(query_GMD, history_GND, byte_GN, pooled_GMD, highest_GM, denominator_GM, d_pooled_GMD),
            *(weight_GMN, d_score_GMN, M, N),
        )
        torch.bmm(d_score_GMN, history_GND, out=d_query_GMD)
        history_gradient_plan(query_GMD, N).launch(
            query_GMD, d_pooled_GMD, weight_GMN, d_score_GMN, d_history_GND, M, N
        )
        return d_query_GMD, d_history_GND, None


def pool_plan(query_GMD: Tensor, N: int) -> Plan:
    """Forward pass over histories of N positions."""
    G, M, D = query_GMD.shape
    if N <= _POOL_POSITIONS:
        BM = _tile(M, 32)
        constants = _constants(query_GMD, BM, _tile(N, _POOL_POSITIONS))
        return Plan(programs.pool_resident, G * tiles_of(M, BM), constants, num_warps=4, num_stages=3)
    BM = _tile(M, 64 // query_GMD.element_size())
    BW = _tile(D, 1024 // query_GMD.element_size())  # columns whose sums stay in registers
    constants = {**_constants(query_GMD, BM, 32), "BW": BW}
    cells = G * tiles_of(M, BM) * tiles_of(D, BW)
    return Plan(programs.pool_streamed, cells, constants, num_warps=8, num_stages=2)


def gradients_plan(query_GMD: Tensor, N: int) -> Plan:
    """Backward pass of groups that fit one program."""
    G, M, _ = query_GMD.shape
    BM, BN = _tile(M, _GRADIENT_QUERIES), _tile(N, _GRADIENT_POSITIONS)
    warps = 4 if BM * BN <= 2048 else 8
    return Plan(programs.gradients_resident, G, _constants(query_GMD, BM, BN), num_warps=warps, num_stages=2)


def weights_plan(query_GMD: Tensor, N: int) -> Plan:
    """First half of the backward pass of larger groups."""
    G, M, _ = query_GMD.shape
    BM, BN = _tile(M, 32), _tile(N, 64)
    constants = {**_constants(query_GMD, BM, BN), "ONE_TILE": N <= BN}
    return Plan(programs.weights_streamed, G * tiles_of(M, BM), constants, num_warps=8, num_stages=2)


def history_gradient_plan(query_GMD: Tensor, N: int) -> Plan:
    """Second half of the backward pass of larger groups."""
    G, M, D = query_GMD.shape
    BM, BN = _tile(M, 32), _tile(N, 64)
    constants = _constants(query_GMD, BM, BN)
    cells = G * tiles_of(N, BN) * tiles_of(D, int(constants["BD"]))
    return Plan(programs.history_gradient_streamed, cells, constants, num_warps=4, num_stages=3)


def _constants(query_GMD: Tensor, BM: int, BN: int) -> dict[str, int | bool | str]:
    D = query_GMD.shape[-1]
    BD = _tile(D, 128 // query_GMD.element_size())  # a cache line of a row
    return {"D": D, "BM": BM, "BN": BN, "BD": BD, "PRECISION": _precision(query_GMD)}


def _tile(size: int, most: int) -> int:
    return power_of_two(size, _LEAST, most)


def _precision(tensor: Tensor) -> str:
    """How products treat their factors.

    `ieee`: float32 as it is, though Triton's default would round it to TF32. `tf32`: half precisions have no choice.
    `widened`: half precisions on the CPU; Triton's interpreter would multiply the bits of bfloat16 as integers.
    """
    if tensor.dtype == torch.float32:
        return "ieee"
    return "widened" if tensor.device.type == "cpu" else "tf32"
