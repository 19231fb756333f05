"""Setting of the fused operations."""

from typing import Literal

KernelPath = Literal["auto", "triton", "torch"]
