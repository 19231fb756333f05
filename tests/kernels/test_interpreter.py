"""The tests of the Triton kernels in Triton's interpreter, in a process of their own.

The interpreter is chosen when triton is first imported, which torch or deepspeed may have done in this process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.triton_device import HAS_TRITON

FOLDER = Path(__file__).parent


@pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
def test_in_the_interpreter() -> None:
    files = sorted(str(path) for path in FOLDER.glob("test_triton_*.py"))
    assert files
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", *files],
        cwd=FOLDER.parents[1],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout
    assert "skipped" not in run.stdout
