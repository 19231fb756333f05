"""Opening a trained run."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun


def test_kernels_that_cannot_run_here_are_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match=r"^kernels: triton .*; (install triton|set kernels to auto)"):
        TrainedRun.open(RunFolder(tmp_path), Config(kernels="triton"))


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []
    backbone = SimpleNamespace(compile_blocks=lambda: compiled.append(True))
    trained: Any = SimpleNamespace(model=SimpleNamespace(backbone=backbone))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        InputError, match=r"^evaluation.compile: torch.compile needs a compiler, and there is no no-such-compiler"
    ):
        TrainedRun.compile(trained)
    assert compiled == []
    monkeypatch.setenv("CXX", sys.executable)
    TrainedRun.compile(trained)
    assert compiled == [True]
