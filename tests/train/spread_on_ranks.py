"""What every rank does in test_state: a state given to engines of each stage comes back bit for bit."""

import torch
from deepspeed.runtime.zero import GatheredParameters
from torch import nn

from gensr_dist.distributed.ranks import Ranks, join_processes
from gensr_dist.model.gensr import GenSR
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.engine import Engine, gensr_learning
from gensr_dist.train.state import PARTS, State, gather_state, shapes, spread_state
from tests.model.builders import tiny_model

STEPS = 7


def engine(stage: int, precision: str, offload: str, ranks: Ranks) -> Engine[GenSR]:
    """An engine of a model with a matrix too large for ZeRO-3 to leave whole, which the ranks do not divide."""
    model = tiny_model()
    model.ballast = nn.Linear(401, 301)
    config = TrainConfig(
        batch=ranks.world,
        zero_stage=stage,
        precision=precision,  # type: ignore[arg-type]
        offload=offload,  # type: ignore[arg-type]
        warmup_steps=10,
    )
    return Engine(model, config, ranks, gensr_learning(model, config))


def drawn(engine: Engine[GenSR]) -> State:
    """A state that no training has."""
    generator = torch.Generator().manual_seed(1)
    return {
        part: {name: torch.rand(shape, generator=generator) for name, shape in sorted(shapes(engine).items())}
        for part in PARTS
    }


def check(stage: int, precision: str, offload: str, ranks: Ranks) -> None:
    """Give the state to an engine and ask for it."""
    trained = engine(stage, precision, offload, ranks)
    given = drawn(trained)
    spread_state(trained, (lambda part, name: given[part][name]) if ranks.first else None, STEPS)
    assert trained.learning_rate == trained.config.learning_rate * (STEPS + 1) / (trained.config.warmup_steps + 1)
    found = gather_state(trained)
    if ranks.first:
        for part in PARTS:
            assert found[part].keys() == given[part].keys(), part
            for name, value in given[part].items():
                assert found[part][name].dtype == torch.float32
                assert torch.equal(found[part][name], value), (part, name)
    else:
        assert not any(found.values())
    for name, parameter in trained.model.named_parameters():
        with GatheredParameters([parameter]):
            expected = given["weights"][name].to(parameter.dtype)
            assert torch.equal(parameter, expected), (name, "as the forward pass sees it")


if __name__ == "__main__":
    joined = join_processes()
    for of_stage in range(4):
        check(of_stage, "fp32", "none", joined)
        check(of_stage, "bf16", "none", joined)
    for of_stage in range(1, 4):
        check(of_stage, "bf16", "optimizer", joined)
    check(3, "fp32", "parameters", joined)
    if joined.first:
        print("all alike")
    joined.wait()
