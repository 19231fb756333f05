"""On a GPU, neither inputs nor forward nor backward pass make the host wait for the device."""

from collections.abc import Iterator

import pytest
import torch

from gensr_dist.config import Config
from gensr_dist.model.config import ModelConfig
from gensr_dist.train.feed import Feed
from gensr_dist.train.objective import step_losses
from tests.model.builders import random_batch, tiny_model


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
    feed = Feed(((step, [random_batch(step, groups=4)]) for step in range(4)), model.inputs, device)
    for step in range(4):
        if step == 2:  # the first ones compile kernels and fill allocators, also that of page-locked memory
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        _, [(_, inputs)] = feed.take()
        losses = step_losses(model(inputs), inputs.batch, config, world=1)
        losses.to_minimise(0.1).backward()
        feed.prepare()
    torch.cuda.set_sync_debug_mode("default")
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
