"""On a GPU, neither inputs nor forward nor backward pass make the host wait for the device, and a step does once."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from deepspeed.accelerator import get_accelerator

from gensr_dist.config.root import Config
from gensr_dist.distributed.signals import Stop
from gensr_dist.model.config import ModelConfig
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train import loop
from gensr_dist.train.objective import StepLosses, step_losses
from gensr_dist.train.prefetcher import Prefetcher
from tests.model.builders import random_batch, tiny_model
from tests.train.small_runs import small_config


@pytest.fixture
def waits_are_errors() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("waits_are_errors")
@pytest.mark.parametrize("scoring", ["joint", "shared"])
@pytest.mark.parametrize("history", ["tokens", "pooled"])
def test_neither_inputs_nor_forward_nor_backward_wait_for_the_device(scoring: str, history: str) -> None:
    device = torch.device("cuda")
    model = tiny_model(scoring=scoring, semantic_history=history).to(device).train()
    config = Config(model=ModelConfig(scoring=scoring, semantic_history=history))
    prefetcher = Prefetcher(((step, [random_batch(step, groups=4)]) for step in range(4)), model.inputs, device)
    for step in range(4):
        if step == 2:  # the first ones compile kernels and fill allocators, also that of page-locked memory
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        _, [(_, inputs)] = prefetcher.take()
        losses = step_losses(model(inputs), inputs.batch, config, world=1)
        losses.to_minimise(config.train).backward()
        prefetcher.prepare()
    torch.cuda.set_sync_debug_mode("default")
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("waits_are_errors")
def test_a_step_waits_for_the_device_once(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    optimize = loop._Training._optimize
    waits: list[int] = []

    def counted(training: loop._Training, prefetcher: Prefetcher) -> tuple[int, StepLosses, Stop]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            result = optimize(training, prefetcher)
            torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(warning.message) for warning in seen))
        return result

    monkeypatch.setattr(loop._Training, "_optimize", counted)
    loop.train(small_config(steps=6, validate_every=6, checkpoint_every=6, log_every=6), small_run)
    assert waits[2:5] == [1, 1, 1]  # for the losses of all ranks, see `StepCheck`


def test_deepspeed_never_waits_for_the_device(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its timers would; torch's debug mode does not see that."""
    waits: list[int] = []
    monkeypatch.setattr(type(get_accelerator()), "synchronize", lambda *_: waits.append(1))
    loop.train(small_config(steps=5), small_run)
    assert not waits
