"""The trainer of the baselines: what it promises whatever is trained."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gensr_dist.baselines import stage, training
from gensr_dist.baselines.contract import Losses
from gensr_dist.baselines.stage import run_baseline
from gensr_dist.baselines.training import CURVE, train_baseline
from gensr_dist.baselines.weights import WEIGHTS
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.distributed.ranks import join_processes
from gensr_dist.distributed.signals import Stop
from gensr_dist.errors import InputError, Paused
from gensr_dist.evaluation.metrics import TaskMetrics
from gensr_dist.evaluation.significance import compare_runs, load_ranks
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.train.engine import Engine
from tests.baselines.builders import small_model, small_settings
from tests.baselines.planted import FACTS
from tests.baselines.small_trainings import CONFIG, WITHOUT_CHANCE, settings_of
from tests.forked_ranks import run_forked

NAMES = ("sasrec", "qem")  # one that is trained on sequences, one on rows


def trained(run: RunFolder, name: str, folder: str = "", **changes: object) -> RunFolder:
    out = run.baseline(folder or name)
    data = PreparedData.open(run, CONFIG, folds=True)
    train_baseline(name, settings_of(name, **changes), CONFIG, data, out)
    return out


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.model / WEIGHTS)


def curve(folder: RunFolder) -> list[dict]:
    return json.loads((folder.root / CURVE).read_text())["points"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop_after", [1, 7, 20])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    small_run: RunFolder, name: str, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(small_run, name, "whole")
    optimize = training._Training._optimize

    def stopping(self: training._Training, step: int, batch: object) -> Stop:
        return max(optimize(self, step, batch), Stop.TERM if step + 1 == stop_after else Stop.NO)

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_optimize", stopping)
        with pytest.raises(Paused, match=f"stopped after step {stop_after} of"):
            trained(small_run, name, "stopped")
    resumed = trained(small_run, name, "stopped")
    before = 0
    for found, expected in zip(curve(resumed), curve(whole), strict=True):
        if before < stop_after < expected["step"]:  # the mean loss of an interval that was cut is of its second part
            assert found["validation"] == expected["validation"]
        else:
            assert found == expected
        before = expected["step"]
    assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(resumed).items())


def test_two_ranks_train_like_one(small_run: RunFolder) -> None:
    ones = [trained(small_run, name, f"{name}-alone", **WITHOUT_CHANCE) for name in NAMES]
    done = run_forked(["tests.baselines.train_on_ranks", str(small_run.root), *NAMES], ranks=2)
    assert done.returncode == 0, done.stderr[-2_000:]
    for one, two in zip(ones, map(small_run.baseline, NAMES), strict=True):
        assert len(curve(two)) == len(curve(one)) >= 3
        for found, expected in zip(curve(two), curve(one), strict=True):
            assert found["step"] == expected["step"]
            for task, ndcg in expected["validation"].items():
                assert found["validation"][task] == pytest.approx(ndcg, abs=0.02)
        own = weights(one)
        for key, value in weights(two).items():
            torch.testing.assert_close(value, own[key], rtol=1e-3, atol=1e-4)


def test_it_stops_without_gain_and_keeps_the_best(small_run: RunFolder) -> None:
    folder = trained(small_run, "qem", epochs=50, patience=2, learning_rate=0.3)
    points = curve(folder)
    ndcg = [point["validation"]["search"] for point in points]
    best = ndcg.index(max(ndcg))
    assert len(points) == best + 3  # two validations without gain
    assert len(points) < 100


@pytest.mark.parametrize(
    ("name", "coupled"), [("sesrec", True), ("seqrec", True), ("unisar", True), ("bert4rec", False)]
)
def test_vectors_without_a_gradient_shrink_where_the_authors_decay_is_in_the_gradient(name: str, coupled: bool) -> None:
    settings = small_settings(name, weight_decay=1e-5, learning_rate=0.01, warmup_steps=0)
    model = small_model(name, FACTS)
    config = replace(training._train_config(settings, CONFIG, 1), zero_stage=0)
    engine = Engine(model, config, join_processes(), training._learning(model, settings))
    weight_ID = model.items.table.weight
    size_ID = weight_ID.detach().abs()
    kept = {name: bias.detach().clone() for name, bias in model.named_parameters() if "bias" in name}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    engine.step()
    shrunk = float((size_ID - weight_ID.detach().abs()).median())
    assert shrunk == pytest.approx(0.01 if coupled else 0.0, abs=1e-4)
    assert kept
    assert all(torch.equal(bias, kept[name]) for name, bias in model.named_parameters() if name in kept)


def test_a_spent_budget_ends_it_with_what_it_has(small_run: RunFolder) -> None:
    data = PreparedData.open(small_run, CONFIG, folds=True)
    folder = small_run.baseline("qem")
    done = train_baseline("qem", settings_of("qem"), CONFIG, data, folder, budget=1e-9)
    assert (done.progress.steps, done.progress.best_step) == (1, 1)
    again = train_baseline("qem", settings_of("qem"), CONFIG, data, folder, budget=1e-9)
    assert again.progress == done.progress


def test_training_rows_stand_beside_validation_rows(small_run: RunFolder) -> None:
    points = curve(trained(small_run, "sasrec", epochs=12, learning_rate=1e-2, patience=50))
    gap = [point["training"]["rec"] - point["validation"]["rec"] for point in points]
    assert gap[-1] > gap[0]
    assert gap[-1] > 0.1  # a log of chance can only be memorised


def test_a_loss_that_is_not_finite_ends_it_with_the_step_and_the_last_finite_one(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = training.Engine.forward
    seen: list[float] = []

    def broken(self: training.Engine, *inputs: object, last: bool) -> Losses:
        losses: Losses = forward(self, *inputs, last=last)
        if len(seen) == 5:
            return Losses({"ranking": losses.total * math.nan})
        seen.append(float(losses.total.detach()))
        return losses

    monkeypatch.setattr(training.Engine, "forward", broken)
    with pytest.raises(InputError) as caught:
        trained(small_run, "qem")
    assert caught.value.problem == (
        f"the loss or gradient of step 6 is not finite; the last finite loss was {seen[-1]:.4g}"
    )
    assert "lower qem.learning_rate" in caught.value.remedy


def test_checkpoints_of_other_settings_are_refused(small_run: RunFolder) -> None:
    trained(small_run, "qem", "same")
    with pytest.raises(InputError, match="width was 16 and is 8"):
        trained(small_run, "qem", "same", width=8)


def test_results_are_those_of_the_saved_ranks(small_run: RunFolder) -> None:
    folder = small_run.baseline("sasrec")
    result = run_baseline("sasrec", settings_of("sasrec"), CONFIG, small_run, folder)
    rank_R, user_R = load_ranks(folder.root, 0)
    metrics = TaskMetrics.from_ranks(rank_R, user_R, resamples=CONFIG.evaluation.bootstrap, seed=CONFIG.seed)
    assert result.intervals["rec"] == {name: each.interval for name, each in metrics.named().items()}
    assert result.tasks["rec"]["recall@10"] == pytest.approx((rank_R <= 10).mean())
    assert result.tasks["rec"]["mrr"] == pytest.approx((1 / rank_R).mean())
    saved = json.loads(folder.metrics.read_text())
    assert saved["tasks"] == result.tasks
    assert saved["protocol"]["rows"].keys() == {"rec"}
    comparison = compare_runs(folder.root, folder.root)
    assert (
        comparison.tasks["rec"].first == comparison.tasks["rec"].second == pytest.approx(result.tasks["rec"]["ndcg@10"])
    )
    assert result.tasks.keys() == result.catalogue.keys() == {"rec"}
    assert result.behind == {}  # no GenSR was evaluated
    assert result.cost.parameters == sum(value.numel() for value in weights(folder).values())
    assert result.lines()[0].startswith("SASRec: validation NDCG@10")


def test_a_table_that_does_not_fit_is_refused(small_run: RunFolder) -> None:
    with pytest.raises(InputError) as caught:
        trained(small_run, "qem", width=10**12)
    assert "learnt vectors of 60 items take 960,000,000,000,000 bytes to train" in caught.value.problem
    assert caught.value.remedy == "set qem.item_input=cf, or lower qem.width"


def test_the_whole_catalogue_is_there_for_learnt_vectors_alone(small_run: RunFolder) -> None:
    with pytest.raises(InputError, match="set item_input=id, or loss=sampled"):
        trained(small_run, "sasrec", loss="ce", item_input="cf")


def test_a_missing_model_is_said(small_run: RunFolder, tmp_path: Path) -> None:
    folder = trained(small_run, "qem")
    (folder.model / WEIGHTS).unlink()
    with pytest.raises(InputError, match="no weights of a baseline"):
        trained(small_run, "qem")


@pytest.mark.parametrize("resamples", [0, 20])
def test_without_resamples_nothing_is_said_of_significance(
    small_run: RunFolder, small_store: TimelineStore, monkeypatch: pytest.MonkeyPatch, resamples: int
) -> None:
    task = Behaviour.RECOMMENDATION
    rows = small_store.eval_rows(Split.TEST, task)
    rank_R = np.arange(len(rows)) % 7 + 1
    monkeypatch.setattr(stage, "gensr_ranks", lambda *_: {task: np.ones_like(rank_R)})
    config = replace(CONFIG, evaluation=replace(CONFIG.evaluation, bootstrap=resamples))
    behind = stage._behind(small_run, "", {task: rank_R}, {task: rows}, config)
    assert behind.keys() == ({"rec"} if resamples else set())
