import pytest
from torch import nn

from gensr_dist.train.config import TrainConfig
from gensr_dist.train.engine import deepspeed_config, parameter_groups


def test_decay_is_for_linear_matrices_only() -> None:
    model = nn.ModuleDict(
        {"table": nn.Embedding(5, 4), "linear": nn.Linear(4, 3), "norm": nn.LayerNorm(3), "bag": nn.EmbeddingBag(5, 4)}
    )
    decayed, free = parameter_groups(model, weight_decay=0.1)
    assert decayed["weight_decay"] == 0.1
    assert [id(p) for p in decayed["params"]] == [id(model["linear"].weight)]
    assert free["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_a_tied_table_is_one_parameter_without_decay() -> None:
    table, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    head.weight = table.weight
    (free,) = parameter_groups(nn.ModuleList([head, table]), weight_decay=0.1)
    assert free["weight_decay"] == 0.0
    assert len(free["params"]) == 1


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 2), (4, 1)])
def test_the_global_batch_does_not_depend_on_the_ranks(world: int, accumulation: int) -> None:
    settings = deepspeed_config(TrainConfig(batch=16, accumulation=accumulation), 2, world)
    micro = settings["train_micro_batch_size_per_gpu"]
    assert micro * settings["gradient_accumulation_steps"] * world == settings["train_batch_size"] == 16


def test_bf16_accumulates_in_fp32() -> None:
    settings = deepspeed_config(TrainConfig(precision="bf16"), 1, 1)
    assert settings["bf16"]["enabled"]
    assert settings["data_types"] == {"grad_accum_dtype": "fp32"}
