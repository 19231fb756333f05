import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.config.root import Config
from gensr_dist.distributed.rank_log import log_path
from gensr_dist.errors import InputError
from gensr_dist.evaluation.fit import fit_warnings, read_fit
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train import loop
from gensr_dist.train.loop import train
from gensr_dist.train.validation import ValidationResult
from tests.train.small_runs import BUDGET, another_folder, scalars, small_config


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return {
        **load_file(run.model / "gensr.safetensors"),
        **load_file(run.model / "backbone" / "model.safetensors"),
    }


class InterruptedRunError(Exception):
    pass


def train_until(step: int, config: Config, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, but fall over after so many finished steps of this start, before the next is."""
    whole = loop.Engine.step
    calls: list[None] = []

    def falling_over(engine: Any) -> bool:
        calls.append(None)
        if len(calls) > step:
            raise InterruptedRunError
        return whole(engine)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Engine, "step", falling_over)
        with pytest.raises(InterruptedRunError):
            train(config, run)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config()
    whole = another_folder(small_run, "whole")
    expected = train(config, whole)
    train_until(3, config, small_run, monkeypatch)
    assert {path.name for path in small_run.checkpoints.iterdir()} == {"step_00000002", "latest"}
    result = train(config, small_run)

    assert (result.steps, result.best_step) == (expected.steps, expected.best_step) == (4, expected.best_step)
    assert result.best_ndcg == expected.best_ndcg
    here, there = scalars(small_run), scalars(whole)
    for tag in there:
        if tag.startswith(("loss/", "optimizer/", "validation", "training_", "gap/")):
            assert here[tag] == there[tag], tag
    assert read_fit(small_run.fit) == read_fit(whole.fit) is not None
    for name, weight in weights(whole).items():
        assert torch.equal(weights(small_run)[name], weight), name


def test_board_shows_losses_speed_memory_and_both_tasks(small_run: RunFolder) -> None:
    train(small_config(), small_run)
    points = scalars(small_run)
    for tag in (
        "loss/task",
        "loss/contrastive",
        "loss/match",
        "optimizer/learning_rate",
        "optimizer/gradient_norm",
        "speed/candidates_per_second",
        "speed/tokens_per_second",
        "speed/loader_wait_share",
        "memory/peak_resident_gb",
    ):
        assert sorted(points[tag]) == [1, 2, 3, 4], tag
        assert all(value >= 0 for value in points[tag].values())
    for rows in ("validation", "training"):
        for tag in ("rec/ndcg@10", "search/ndcg@10", "rec/mrr", "search/loss"):
            assert sorted(points[f"{rows}_{tag}"]) == [2, 4], (rows, tag)
    for tag in ("gap/rec_ndcg@10", "gap/search_ndcg@10", "gap/rec_loss", "gap/search_loss"):
        assert sorted(points[tag]) == [2, 4], tag
    events = EventAccumulator(str(small_run.tensorboard))
    events.Reload()
    assert any(tag.startswith("config") for tag in events.Tags()["tensors"])
    assert events.PluginTagToContent("hparams")
    assert {"items_cf", "items_semantic"} <= {path.name for path in (small_run.tensorboard / "00000").iterdir()}


def test_the_best_and_the_last_validation_are_kept(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(validate_every=1, validate_rows=30, patience=9)
    means = {1: 0.25, 2: 0.5, 3: 0.375, 4: 0.125}
    seen: list[ValidationResult] = []

    def mean(result: ValidationResult) -> float:
        if not any(result is one for one in seen):
            seen.append(result)
        return means[len(seen)]

    monkeypatch.setattr(ValidationResult, "ndcg", property(mean))
    result = train(config, small_run)
    kept = read_fit(small_run.fit)
    assert kept is not None
    assert kept.best is not None
    assert (kept.best.step, kept.last.step, kept.cf_saw_rows) == (2, 4, True)
    assert kept.best == seen[1].after(2)
    assert kept.last == seen[3].after(4)
    assert result.warnings == fit_warnings(kept)
    (line,) = (line for line in log_path(small_run.logs, 0).read_text().splitlines() if "step 2/4  validation" in line)
    assert f"search ndcg@10 {kept.best.tasks['search'].validation.ndcg:.4f} (training rows " in line

    assert train(config, small_run).warnings == result.warnings  # a finished run has read it
    assert read_fit(small_run.fit) == kept
    seen.clear()
    train(dataclasses.replace(config, model=dataclasses.replace(config.model, cf_view=False)), small_run, resume=False)
    again = read_fit(small_run.fit)
    assert again is not None
    assert not again.cf_saw_rows


def test_a_slow_loader_is_seen(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = loop.TrainingLoader.batches

    def slowly(self: Any, *arguments: int) -> Iterator[Any]:
        for step in batches(self, *arguments):
            time.sleep(3.0)
            yield step

    monkeypatch.setattr(loop.TrainingLoader, "batches", slowly)
    train(small_config(steps=3, workers=0), small_run)
    assert min(list(scalars(small_run)["speed/loader_wait_share"].values())[:2]) > 0.5  # the last has none after it


def test_a_finished_run_is_not_trained_again_and_can_be_restarted(
    small_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(steps=2)
    first = train(config, small_run)
    again = train(config, small_run)
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(first, seconds=0)
    assert train(config, small_run, resume=False).best_ndcg == first.best_ndcg
    assert sorted(scalars(small_run)["loss/task"]) == [1, 2]
    assert "Embedding dir exists" not in capsys.readouterr().out  # a warning of an earlier projector


def test_checkpoints_of_other_settings_are_refused(small_run: RunFolder) -> None:
    train(small_config(steps=2), small_run)
    with pytest.raises(InputError, match=r"train.learning_rate was 0.001 and is 0.01.*delete the folder"):
        train(small_config(steps=2, learning_rate=0.01), small_run)
    with pytest.raises(InputError, match="another folder"):
        train(dataclasses.replace(small_config(steps=2), seed=1), small_run)
    train(small_config(steps=2, log_every=2, keep_last=1, workers=0), small_run)  # do not matter


def test_settings_that_cannot_be_used_cost_no_checkpoint(small_run: RunFolder) -> None:
    train(small_config(), small_run)
    kept, curves = sorted(small_run.checkpoints.rglob("*")), sorted(small_run.tensorboard.iterdir())
    config = small_config()
    refused = dataclasses.replace(config, model=dataclasses.replace(config.model, semantic_heads=7))
    with pytest.raises(InputError, match="semantic_heads"):
        train(refused, small_run, resume=False)
    assert sorted(small_run.checkpoints.rglob("*")) == kept
    assert sorted(small_run.tensorboard.iterdir()) == curves


def test_only_the_last_checkpoints_are_kept(small_run: RunFolder) -> None:
    train(small_config(checkpoint_every=1, keep_last=2, validate_every=4), small_run)
    assert {path.name for path in small_run.checkpoints.iterdir()} == {"step_00000003", "step_00000004", "latest"}
    assert (small_run.checkpoints / "latest").read_text() == "step_00000004"
    assert json.loads((small_run.checkpoints / "step_00000004" / "state.json").read_text())["steps"] == 4


def test_stops_after_too_many_validations_without_gain(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValidationResult, "ndcg", property(lambda self: 0.25))
    result = train(small_config(steps=9, validate_every=1, patience=2, validate_rows=2), small_run)
    assert (result.stopped_early, result.steps, result.best_step) == (True, 3, 1)
    assert train(small_config(steps=9, validate_every=1, patience=2, validate_rows=2), small_run).steps == 3


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_no_checkpoint(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loop.step_losses
    monkeypatch.setattr(
        loop, "step_losses", lambda *a: dataclasses.replace(whole(*a), task=whole(*a).task * float("nan"))
    )
    with pytest.raises(InputError, match=r"the loss is not finite at step 1 \(rank 0, .*; lower train\.learning_rate"):
        train(small_config(log_every=100), small_run)
    assert not small_run.checkpoints.exists()


@pytest.mark.parametrize(
    ("stage", "precision"), [(1, "fp32"), (2, "fp32"), (3, "fp32"), (0, "bf16"), (1, "bf16"), (3, "bf16")]
)
def test_each_stage_and_precision_trains_resumes_and_exports_fp32(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: int, precision: str
) -> None:
    dropped = dataclasses.replace(ModelConfig(cf_heads=2, semantic_history="pooled"), dropout=0.0)
    config = dataclasses.replace(
        small_config(
            steps=2,
            zero_stage=stage,
            precision=precision,
            micro_tokens=BUDGET,
            checkpoint_every=1,
            contrastive_weight=0.0,
            match_weight=0.0,
        ),
        model=dropped,
    )
    train_until(1, config, small_run, monkeypatch)
    assert [path.name for path in small_run.checkpoints.glob("step_*")] == ["step_00000001"]
    assert train(config, small_run).steps == 2
    plain = another_folder(small_run, "plain")
    train(dataclasses.replace(small_config(steps=2, contrastive_weight=0.0, match_weight=0.0), model=dropped), plain)
    here, there = scalars(small_run), scalars(plain)
    for tag in ("loss/task", "optimizer/gradient_norm"):
        assert here[tag] == pytest.approx(there[tag], rel=1e-3 if precision == "fp32" else 0.1), tag
    model = GenSR.from_pretrained(small_run.model)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
