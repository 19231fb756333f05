"""Opening a trained run."""

from pathlib import Path

import pytest

from gensr_dist.config import Config
from gensr_dist.errors import InputError
from gensr_dist.kernels.dispatch import configure, configured
from gensr_dist.run_folder import RunFolder
from gensr_dist.trained_run import TrainedRun


def test_kernels_that_cannot_run_here_are_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    before = configured()
    with pytest.raises(InputError, match=r"^kernels: triton .*; (install triton|set kernels to auto)"):
        TrainedRun.open(RunFolder(tmp_path), Config(kernels="triton"))
    configure(before)
