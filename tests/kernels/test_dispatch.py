"""Which path runs, what is logged, and when a path is refused."""

import logging
import re
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gensr_dist.errors import InputError
from gensr_dist.kernels import dispatch
from gensr_dist.kernels.dispatch import check_path, runs_triton
from gensr_dist.kernels.soft_filter.op import soft_filter

TENSOR = torch.zeros(2)
ON_GPU: Any = SimpleNamespace(is_cuda=True, device=torch.device("cuda"), dtype=torch.bfloat16, is_floating_point=bool)


@pytest.fixture
def with_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_triton_is_installed", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.fixture
def without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_triton_is_installed", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("with_triton")
def test_auto_takes_torch_on_the_cpu_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="gensr_dist")  # its own level stands above that of the root
    assert not runs_triton("soft_filter", "auto", TENSOR)
    assert not runs_triton("soft_filter", "auto", TENSOR)
    assert not runs_triton("rms_norm", "auto", TENSOR)
    assert caplog.messages == [
        "soft_filter runs in torch: tensors lie on cpu",
        "rms_norm runs in torch: tensors lie on cpu",
    ]


@pytest.mark.usefixtures("with_triton")
def test_auto_leaves_the_interpreter_to_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not runs_triton("soft_filter", "auto", TENSOR)
    assert runs_triton("soft_filter", "triton", TENSOR)


@pytest.mark.usefixtures("without_triton")
def test_auto_without_triton(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="gensr_dist")  # its own level stands above that of the root
    assert not runs_triton("soft_filter", "auto", TENSOR)
    assert caplog.messages == ["soft_filter runs in torch: triton is not installed"]


def test_configured_torch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="gensr_dist")  # its own level stands above that of the root
    assert not runs_triton("soft_filter", "torch", TENSOR)
    assert caplog.messages == ["soft_filter runs in torch: configured"]


@pytest.mark.usefixtures("without_triton")
def test_triton_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InputError, match="kernels: triton is not installed; install triton"):
        check_path("triton")


@pytest.mark.usefixtures("with_triton", "no_gpu")
def test_triton_without_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="kernels: triton needs a GPU"):
        check_path("triton")


class BrokenDriver:
    """Counts how often Triton's driver is started, which fails."""

    def __init__(self, error: Exception) -> None:
        self.error, self.starts = error, 0

    def __call__(self) -> None:
        self.starts += 1
        raise self.error


@pytest.fixture(
    params=[RuntimeError("Failed to find C compiler.\nSet CC"), subprocess.CalledProcessError(1, ["gcc", "main.c"])]
)
def broken_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BrokenDriver:
    broken = BrokenDriver(request.param)
    monkeypatch.setattr(dispatch, "_start", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return broken


@pytest.mark.usefixtures("with_triton")
def test_auto_takes_torch_where_triton_cannot_start_and_warns_once(
    broken_driver: BrokenDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="gensr_dist")
    check_path("auto")
    for op in ("soft_filter", "rms_norm", "soft_filter"):
        assert not runs_triton(op, "auto", ON_GPU)
    reason = str(broken_driver.error).splitlines()[0]
    line = f"every operation runs in torch: triton is there, but its driver cannot start ({reason})"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, line)]
    assert broken_driver.starts == 1


@pytest.mark.usefixtures("with_triton")
def test_configured_triton_is_refused_where_it_cannot_start(broken_driver: BrokenDriver) -> None:
    reason = re.escape(str(broken_driver.error).splitlines()[0])
    for _ in range(2):
        with pytest.raises(InputError, match=rf"kernels: triton cannot run: .* cannot start \({reason}\); install"):
            check_path("triton")
    with pytest.raises(InputError, match=r"kernels: triton cannot run rms_norm: its driver cannot start"):
        runs_triton("rms_norm", "triton", ON_GPU)
    assert broken_driver.starts == 1


@pytest.mark.usefixtures("with_triton", "broken_driver")
def test_torch_and_the_interpreter_do_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not runs_triton("rms_norm", "torch", ON_GPU)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    check_path("triton")
    assert runs_triton("rms_norm", "triton", TENSOR)


@pytest.mark.usefixtures("with_triton")
def test_a_driver_that_starts_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[bool] = []
    monkeypatch.setattr(dispatch, "_start", lambda: starts.append(True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_path("triton")
    assert runs_triton("rms_norm", "auto", ON_GPU)
    assert runs_triton("rms_norm", "triton", ON_GPU)
    assert starts == [True]


@pytest.mark.usefixtures("with_triton")
def test_configured_triton_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    check_path("triton")
    with pytest.raises(InputError, match="triton cannot run gated_gelu: float64 is not among its types"):
        runs_triton("gated_gelu", "triton", TENSOR.double())
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(InputError, match="triton cannot run soft_filter: tensors lie on cpu"):
        soft_filter(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), "triton")
