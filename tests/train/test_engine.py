import pytest

from gensr_dist.data.batches.micro_batches import MicroBatchOrder, RowTokens
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.engine import deepspeed_config, parameter_groups
from tests.model.builders import tiny_model
from tests.train.small_runs import BUDGET, small_config


def test_every_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    model = tiny_model()
    config = TrainConfig(learning_rate=1e-3, token_table_rate=5.0, weight_decay=0.1)
    decayed, free, table = parameter_groups(model, config)
    assert (decayed["weight_decay"], free["weight_decay"], table["weight_decay"]) == (0.1, 0.0, 0.0)
    assert table["lr"] == 5e-3
    assert table["params"] == [model.backbone.t5.shared.weight]  # tied: the head is the same parameter
    grouped = [id(p) for group in (decayed, free, table) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(names[id(p)].endswith("_HKD") or p.ndim == 2 for p in decayed["params"])
    assert "cf_history.recency.weight" in {names[id(p)] for p in free["params"]}
    assert "cf_projection.weight" in {names[id(p)] for p in decayed["params"]}


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_global_batch_does_not_depend_on_the_ranks(world: int) -> None:
    settings = deepspeed_config(TrainConfig(batch=16), 2, world)
    micro = settings["train_micro_batch_size_per_gpu"]
    assert micro * settings["gradient_accumulation_steps"] * world == settings["train_batch_size"] == 16


def test_the_steps_of_small_runs_have_different_numbers_of_micro_batches(
    small_store: TimelineStore, small_items: ItemStore
) -> None:
    """What they say of a budget is said of that, too."""
    config = small_config()
    tokens = RowTokens(small_store, small_items, config.data.history, 1 + config.data.train_negatives)
    order = SampleOrder(small_store.window_rows, config.train.batch, config.seed)
    micro_batches = MicroBatchOrder(order, tokens, BUDGET)
    assert [len(micro_batches.rows_of_step(step, world=2)) for step in range(4)] == [3, 2, 2, 3]


def test_bf16_accumulates_in_fp32() -> None:
    settings = deepspeed_config(TrainConfig(precision="bf16"), 1, 1)
    assert settings["bf16"]["enabled"]
    assert settings["data_types"] == {"grad_accum_dtype": "fp32"}
