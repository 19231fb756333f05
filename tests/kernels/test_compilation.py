"""The Triton programs compile for GPUs, on machines without one, and fit the smallest of them."""

import os
from typing import Any

import pytest
import torch

from gensr_dist.kernels.plan import Plan

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gensr_dist.kernels.gated_gelu import triton_path as gated_gelu
from gensr_dist.kernels.rms_norm import triton_path as rms_norm
from gensr_dist.kernels.soft_filter import triton_path as soft_filter

SHARED_BYTES = 99 * 1024  # a program's at most on GPUs of compute capability 8.6, the least since Ampere
POINTERS = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}
FLOAT32 = {"highest_score", "denominator", "d_weight_parts"}


def query(M: int, D: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(4, M, D, dtype=dtype, device="meta")


def plans(dtype: torch.dtype) -> dict[str, Plan]:
    return {
        "pool of 20": soft_filter.pool_plan(query(20, 768, dtype), 20),
        "pool of 100": soft_filter.pool_plan(query(20, 768, dtype), 100),
        "pool of 400": soft_filter.pool_plan(query(20, 768, dtype), 400),
        "gradients of 20": soft_filter.gradients_plan(query(20, 768, dtype), 20),
        "gradients of 64": soft_filter.gradients_plan(query(64, 100, dtype), 64),
        "weights of 400": soft_filter.weights_plan(query(20, 768, dtype), 400),
        "gradient of 400": soft_filter.history_gradient_plan(query(20, 768, dtype), 400),
        "norm": rms_norm.normalise_plan(query(1, 768, dtype)[:, 0]),
        "gradients of norm": rms_norm.gradients_plan(query(1, 768, dtype)[:, 0]),
        "gate": gated_gelu.activate_plan(query(1, 2048, dtype)[:, 0]),
        "gradients of gate": gated_gelu.gradients_plan(query(1, 2048, dtype)[:, 0]),
    }


def compiled(plan: Plan, dtype: torch.dtype, capability: int) -> Any:
    names = plan.program.arg_names
    signature = {}
    for name in names:
        if name in plan.constants:
            signature[name] = "constexpr"
        elif name in {"M", "N", "R", "gate_stride", "value_stride"}:
            signature[name] = "i32"
        elif name == "eps":
            signature[name] = "fp32"
        else:
            signature[name] = "*u8" if name == "mask" else "*fp32" if name in FLOAT32 else POINTERS[dtype]
    aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if signature[name][0] == "*"}
    return triton.compile(
        ASTSource(plan.program, signature, plan.constants, aligned),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": plan.num_warps, "num_stages": plan.num_stages},
    )


def check(name: str, dtype: torch.dtype, capability: int) -> None:
    binary = compiled(plans(dtype)[name], dtype, capability)
    assert "cubin" in binary.asm
    assert binary.metadata.shared <= SHARED_BYTES


@pytest.mark.parametrize("name", ["pool of 20", "gradients of 20", "gradients of norm", "gradients of gate"])
def test_compiles_for_an_h100(name: str) -> None:
    check(name, torch.bfloat16, 90)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", list(POINTERS), ids=str)
@pytest.mark.parametrize("name", list(plans(torch.float32)))
def test_compiles(name: str, dtype: torch.dtype, capability: int) -> None:
    check(name, dtype, capability)
