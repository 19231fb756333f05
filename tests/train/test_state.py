import pytest
import torch

from gensr_dist.distributed.ranks import join_processes
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.engine import Engine, gensr_learning
from gensr_dist.train.state import PARTS, gather_state, shapes
from tests.forked_ranks import run_forked
from tests.model.builders import tiny_model


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_engine_that_has_not_trained_has_its_weights_and_no_moments(stage: int) -> None:
    model = tiny_model()
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    config = TrainConfig(zero_stage=stage, batch=1)
    engine = Engine(model, config, join_processes(), gensr_learning(model, config))
    state = gather_state(engine)
    assert shapes(engine) == {name: tuple(value.shape) for name, value in expected.items()}
    for name, value in expected.items():
        assert torch.equal(state["weights"][name], value)
        assert not state["exp_avg"][name].any()
        assert not state["exp_avg_sq"][name].any()


def test_a_gathered_state_is_a_copy() -> None:
    model, config = tiny_model(), TrainConfig(batch=1)
    engine = Engine(model, config, join_processes(), gensr_learning(model, config))
    state = gather_state(engine)
    owned = {value.untyped_storage().data_ptr() for part in PARTS for value in state[part].values()}
    assert not owned & {parameter.untyped_storage().data_ptr() for parameter in engine.model.parameters()}


def test_three_ranks_get_and_give_every_bit_in_every_stage_and_precision() -> None:
    """Three: no matrix is divisible by them, so that ZeRO-3's pieces are padded."""
    done = run_forked(["tests.train.spread_on_ranks"], ranks=3)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.count("all alike") == 1
