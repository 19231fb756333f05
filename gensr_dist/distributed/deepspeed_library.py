"""DeepSpeed, imported without what it says of itself: which accelerator it found, every setting and buffer at INFO.

And without torch's compiler, which takes seconds to import: only Muon's functions are decorated with it, and every
engine imports them to see that its optimizer is another.
"""

import contextlib
import importlib
import logging
import os
import warnings
from typing import Any

import torch

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")  # else it warns of its guess

import deepspeed

logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.distributed.*is deprecated")


def _import_muon() -> None:
    """As plain functions; older releases have no Muon."""
    compiler: Any = importlib.import_module("deepspeed.runtime.compiler")
    decorator, compiler.compile = compiler.compile, lambda: lambda function: function
    try:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module("deepspeed.runtime.zero.muon.original_muon")
    finally:
        compiler.compile = decorator


_import_muon()

__all__ = ["deepspeed"]
