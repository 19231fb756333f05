"""Which implementation of an operation runs: Triton's, or torch's. The caller says which path it wants."""

import importlib.util
import logging
import os
import shutil
from functools import cache

import torch
from torch import Tensor

from gensr_dist.errors import InputError
from gensr_dist.kernels.config import KernelPath

TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_LOG = logging.getLogger(__name__)
_logged: set[tuple[str, str, str]] = set()  # (op, path, why)


def check_path(path: KernelPath) -> None:
    """Refuse a path that this machine does not have.

    Args:
        path: `auto` takes Triton for CUDA tensors where it can start, else torch; `triton` and `torch` insist.

    Raises:
        InputError: `triton` is not installed or cannot start, or there is no GPU to run it on (nor TRITON_INTERPRET=1).
    """
    if path == "triton":
        if not _triton_is_installed():
            raise InputError("kernels", "triton is not installed", "install triton, or set kernels to auto")
        if _interpreted():
            return
        if not torch.cuda.is_available():
            raise InputError(
                "kernels",
                "triton needs a GPU, and this machine has none",
                "set kernels to auto or torch (TRITON_INTERPRET=1 runs triton without a GPU, for tests only)",
            )
        if (failure := _start_failure()) is not None:
            remedy = "install a C compiler and Python's headers, or set kernels to auto"
            raise InputError("kernels", f"triton cannot run: {failure}", remedy)


def runs_triton(op: str, path: KernelPath, *tensors: Tensor) -> bool:
    """Whether an operation on these tensors runs in Triton; logs the first time that it takes a path.

    Under torch.compile none does, unless insisted on: it makes programs of the torch path itself.

    Raises:
        InputError: `triton` is wanted and cannot run on them.
    """
    if path != "triton" and torch.compiler.is_compiling():
        return False
    if path == "torch":
        _log(op, "torch", "configured")
        return False
    obstacle = _obstacle(tensors)
    # Traced, Triton could not be started; `check_path` has done it then.
    starts = obstacle is None and not (_interpreted() or torch.compiler.is_compiling())
    failure = _start_failure() if starts else None
    if path == "triton":
        if obstacle or failure:
            problem = f"triton cannot run {op}: {obstacle or failure}"
            raise InputError("kernels", problem, "set kernels to auto or torch")
        _log(op, "triton", "configured")
        return True
    if failure is not None:
        _log("every operation", "torch", f"triton is there, but {failure}", logging.WARNING)
        return False
    if obstacle is None and not tensors[0].is_cuda:
        obstacle = "the interpreter is for tests"
    _log(op, "torch" if obstacle else "triton", obstacle or "CUDA tensors, triton is installed")
    return obstacle is None


def check_compiler(where: str) -> None:
    """Refuse torch.compile where it could not make a program.

    Args:
        where: it was asked for.

    Raises:
        InputError: there is no compiler.
    """
    variable, *names = ("CC", "gcc", "clang") if torch.cuda.is_available() else ("CXX", "g++")
    if variable in os.environ:
        names = [os.environ[variable]]
    if not any(map(shutil.which, names)):
        raise InputError(
            where,
            f"torch.compile needs a compiler, and there is no {' or '.join(names)} on this machine",
            "install one, or do without torch.compile",
        )


def _obstacle(tensors: tuple[Tensor, ...]) -> str | None:
    """Why Triton cannot compute on these tensors."""
    if not _triton_is_installed():
        return "triton is not installed"
    if len({tensor.device for tensor in tensors}) > 1:
        return "tensors lie on several devices"
    if not (tensors[0].is_cuda or _interpreted()):
        return f"tensors lie on {tensors[0].device.type}"
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype not in TRITON_DTYPES:
            return f"{str(tensor.dtype).removeprefix('torch.')} is not among its types"
    return None


@cache
def _triton_is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _start_failure() -> str | None:
    """Why Triton cannot start on this machine, for its GPU: the driver is a C program that is compiled on first use."""
    try:
        _start()
    except Exception as error:  # of a compiler that is missing or fails, of Triton, or of CUDA
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"its driver cannot start ({reason})"
    return None


def _start() -> None:
    """Start Triton's driver."""
    from triton.runtime import driver

    # Reading it starts the driver; a call would choose a GPU, before the ranks have.
    _ = driver.active.get_current_device


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _log(op: str, path: str, why: str, level: int = logging.DEBUG) -> None:
    if torch.compiler.is_compiling() or (op, path, why) in _logged:
        return
    _logged.add((op, path, why))
    _LOG.log(level, "%s runs in %s: %s", op, path, why)
