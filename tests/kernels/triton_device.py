"""Where Triton's tests run: a GPU, or its interpreter, which must be chosen before triton is imported."""

import importlib.util
import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
HAS_TRITON = importlib.util.find_spec("triton") is not None

needs_triton = pytest.mark.skipif(
    not (HAS_TRITON and (torch.cuda.is_available() or INTERPRETED)),
    reason="no GPU: test_interpreter.py runs it in Triton's interpreter",
)
