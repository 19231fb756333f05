"""A loss or gradient that is not finite is planted at one training row: training stops before it, replay finds it."""

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gensr_dist.config.root import Config, resolved_yaml
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.micro_batches import MicroBatchOrder, RowTokens
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.cf_vectors import load_cf
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from gensr_dist.model.config import Likelihood
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.model.history import HistoryEncoder
from gensr_dist.model.inputs import ModelInput
from gensr_dist.model.match import Match
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.loop import train
from gensr_dist.train.not_finite import CONFIG, save_batches
from gensr_dist.train.replay import Player, replay
from gensr_dist.train.training_rows import training_negatives
from gensr_dist.train.validation import ValidationResult
from tests.train.small_runs import BUDGET, small_config


def config_of(**changes: Any) -> Config:
    settings = {
        "steps": 5,
        "micro_tokens": BUDGET,
        "validate_rows": 4,
        "checkpoint_every": 100,
        "log_every": 100,
        "contrastive_weight": 0.1,
    }
    return small_config(**{**settings, **changes})


class _BadBackward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * float("inf")


class Plant:
    """Spoils the loss or the gradient of the micro-batch that holds a row."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.row, self.what, self.on = -2, "loss", False
        forward, encode = GenSR.forward, HistoryEncoder.forward

        def model_forward(model: GenSR, inputs: ModelInput, likelihood: Likelihood = "vocabulary") -> GenSROutput:
            self.on = torch.is_grad_enabled() and bool((inputs.batch.row_G == self.row).any())
            output = forward(model, inputs, likelihood)
            if self.on and self.what == "gradient":
                output = dataclasses.replace(output, nll_GC=_BadBackward.apply(output.nll_GC))
            if self.on and self.what.startswith("match"):
                assert output.match is not None
                user_GD, item_GCD = output.match
                # Towers that have grown so far that their products are no numbers any more.
                spoilt = {
                    "match loss": Match(1e25 * user_GD, 1e25 * item_GCD),
                    "match gradient": Match(_BadBackward.apply(user_GD), item_GCD),
                }
                output = dataclasses.replace(output, match=spoilt[self.what])
            return output

        def encoder_forward(encoder: HistoryEncoder, *arguments: Any) -> Tensor:
            encoded = encode(encoder, *arguments)
            if self.on and self.what == "loss":
                encoded = encoded.clone()
                encoded[-1, 0, 0] = float("nan")
            return encoded

        patch.setattr(GenSR, "forward", model_forward)
        patch.setattr(HistoryEncoder, "forward", encoder_forward)
        patch.setattr(ValidationResult, "ndcg", property(lambda result: 0.5))  # step 2 stays the best


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    return Plant(monkeypatch)


@pytest.mark.parametrize(
    ("what", "stage", "precision", "likelihood"),
    [
        ("loss", 0, "fp32", "vocabulary"),
        ("loss", 0, "fp32", "answers"),
        ("loss", 3, "fp32", "vocabulary"),
        ("match loss", 0, "fp32", "vocabulary"),
        ("match loss", 3, "bf16", "vocabulary"),
        ("match gradient", 0, "fp32", "vocabulary"),
        ("match gradient", 2, "fp32", "answers"),
        ("gradient", 0, "fp32", "vocabulary"),
        ("gradient", 1, "bf16", "vocabulary"),
        ("gradient", 2, "fp32", "vocabulary"),
        ("gradient", 3, "fp32", "vocabulary"),
        ("gradient", 3, "fp32", "answers"),
    ],
)
def test_training_stops_before_the_update_and_replay_finds_the_tensor(
    small_run: RunFolder,
    small_store: TimelineStore,
    small_items: ItemStore,
    plant: Plant,
    what: str,
    stage: int,
    precision: str,
    likelihood: Likelihood,
) -> None:
    config = config_of(zero_stage=stage, precision=precision, likelihood=likelihood)
    order = SampleOrder(small_store.window_rows, config.train.batch, config.seed)
    tokens = RowTokens(small_store, small_items, config.data.history, 1 + config.data.train_negatives)
    rows = MicroBatchOrder(order, tokens, config.train.micro_tokens).rows_of_step(2, world=1)[1][0].tolist()
    plant.row, plant.what = rows[1], what
    with pytest.raises(InputError) as stopped:
        train(config, small_run)
    shown = ", ".join(map(str, rows))
    expected = (
        f"the {what.split()[-1]} is not finite at step 3 (rank 0, micro-batch 1, rows {shown}); nothing was updated"
    )
    assert stopped.value.problem == expected
    assert f"gensr replay {small_run.root}" in stopped.value.remedy
    assert [path.name for path in small_run.checkpoints.glob("step_*")] == ["step_00000002"]  # the best one
    for name in ("gensr.safetensors", "backbone/model.safetensors"):  # validated and exported after step 2
        before, kept = load_file(small_run.model / name), load_file(small_run.not_finite / "model" / name)
        assert before.keys() == kept.keys()
        assert all(torch.equal(before[key], kept[key]) for key in before)

    replayed = replay(small_run)
    assert (replayed.step, replayed.rank, replayed.micro_batch) == (3, 0, 1)
    assert replayed.rows == tuple(rows)
    assert replayed.same_losses
    assert replayed.origin is not None
    if what == "loss":
        assert (replayed.origin.kind, replayed.origin.name) == ("output", "cf_history")
        assert (replayed.origin.not_finite, replayed.origin.shape[0]) == (1, len(rows))
        assert set(replayed.bad_rows) <= set(rows)
        assert replayed.task == "nan"
        assert replayed.match == "nan"  # the spoilt row is matched too
    elif what == "match loss":
        assert (replayed.origin.kind, replayed.origin.name) == ("loss", "match")
        assert not math.isfinite(float(replayed.match))
    else:
        assert replayed.origin.kind == "gradient of an output"
        assert replayed.origin.name == ("backbone.t5.lm_head" if what == "gradient" else "match")
        assert float(replayed.match) > 0
    if what != "loss":
        assert replayed.bad_rows == ()
        assert float(replayed.task) > 0
        assert float(replayed.contrastive) > 0


def test_what_triton_computed_is_replayed_on_a_cpu(
    small_run: RunFolder, small_store: TimelineStore, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    config = config_of()
    plant.row = int(SampleOrder(small_store.window_rows, config.train.batch, config.seed).rows_of_step(1)[0])
    with pytest.raises(InputError, match="the loss is not finite"):
        train(config, small_run)
    (small_run.not_finite / CONFIG).write_text(resolved_yaml(dataclasses.replace(config, kernels="triton")))
    replayed = replay(small_run)
    assert plant.row in replayed.rows
    assert replayed.same_losses
    assert replayed.origin is not None
    assert (replayed.origin.kind, replayed.origin.name) == ("output", "cf_history")


def player_of(config: Config, run: RunFolder, ranks: int, step: int, folder: Path) -> Player:
    """What a training with so many ranks would have left of a step (from 0) of which nothing is wrong."""
    store, items = TimelineStore.open(run.shards), ItemStore.open(run.shards)
    collator = Collator(store, items, load_cf(run.cf, folds=True)[0], config.data.history)
    order = SampleOrder(store.window_rows, config.train.batch, config.seed)
    negatives = training_negatives(config.data, run, items)
    shutil.copytree(run.model, folder / "model")
    for rank in range(ranks):
        loader = TrainingLoader(
            collator,
            order,
            seed=config.seed,
            negatives=negatives,
            rank=rank,
            world=ranks,
            micro_tokens=config.train.micro_tokens,
            workers=0,
        )
        save_batches(folder, rank, loader.batches_of_step(step))
    return Player(config, folder, step + 1, ranks, "cpu")


def test_nothing_is_found_where_nothing_is_wrong(small_run: RunFolder, tmp_path: Path) -> None:
    """Masks and padding hold infinities that are meant."""
    config = config_of(steps=2)
    train(config, small_run)
    with pytest.raises(InputError, match=r"record\.json: the file does not exist"):
        replay(small_run)
    for step in (0, 3):
        played = player_of(config, small_run, 2, step, tmp_path / str(step)).play(1, 1)
        assert played.origin is None
        assert float(played.gradient_norm) > 0
        assert 1 <= len(played.rows) <= config.train.batch // 2


@pytest.mark.parametrize(
    "weights",
    [
        {"contrastive_weight": 0.1, "match_weight": 0.3},
        {"contrastive_weight": 0.0, "match_weight": 0.3},
        {"contrastive_weight": 0.1, "match_weight": 0.0},
    ],
)
def test_losses_that_compare_rows_are_those_of_one_process_whichever_rank_is_played(
    small_run: RunFolder, tmp_path: Path, weights: dict[str, float]
) -> None:
    config = config_of(**weights)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.0))
    train(dataclasses.replace(config, train=dataclasses.replace(config.train, steps=1)), small_run)
    one, two = (player_of(config, small_run, ranks, 0, tmp_path / str(ranks)) for ranks in (1, 2))
    for micro_batch in (0, 1):
        whole = one.play(0, micro_batch)
        parts = [two.play(rank, micro_batch) for rank in (0, 1)]
        assert sorted(whole.rows) == sorted(row for part in parts for row in part.rows)
        assert float(whole.task) == pytest.approx(sum(float(part.task) for part in parts) / 2, rel=1e-5)
        for name in ("contrastive", "match"):
            expected = float(getattr(whole, name))
            assert (expected > 0) is (weights[f"{name}_weight"] > 0)
            for part in parts:
                assert float(getattr(part, name)) == pytest.approx(expected, rel=1e-5)
