"""Which trainings figures 4 and 5 need of a config."""

import dataclasses
from pathlib import Path

import pytest

from gensr_dist.config.root import Config, load_config
from gensr_dist.paper.config import PaperConfig
from gensr_dist.paper.trainings import (
    TEMPERATURE,
    WEIGHT,
    WHOLE,
    ablations,
    changes,
    study_of,
    sweep,
    with_checkpoints,
)
from gensr_dist.runs.folder import RunFolder


def config(*overrides: str) -> Config:
    return load_config(None, overrides)


def test_each_ablation_changes_the_config_and_is_a_config() -> None:
    base = config("data.query_negatives=1")
    found = ablations(base)
    assert len(found) == 9
    for each in found:
        assert changes(base, each.overrides)
        assert load_config(None, ["data.query_negatives=1", *each.overrides]) != base
    assert {each.label for each in found if each.of_paper} == {
        *("no CF view", "no semantic view", "no soft filter", "no contrast"),
    }


def test_an_ablation_that_changes_nothing_is_left_out() -> None:
    labels = {each.label for each in ablations(config("model.scoring=joint", "train.contrastive_weight=0"))}
    assert not {"joint scoring", "no contrast", "uniform negatives"} & labels


def test_one_task_alone_sees_as_many_of_its_rows() -> None:
    alone = {each.label: each.overrides for each in ablations(config("train.batch=64"))}["rec alone"]
    assert alone == ("train.tasks=recommendation", "train.batch=32")


@pytest.mark.parametrize("points", [3, 4, 5])
@pytest.mark.parametrize("key", [TEMPERATURE, WEIGHT])
@pytest.mark.parametrize("own", [0.1, 0.07, 3.0])
def test_a_sweep_is_ordered_and_holds_the_configs_own_value(key: str, own: float, points: int) -> None:
    found = sweep(config(f"{key}={own}", f"paper.points={points}"), key)
    assert len(found) == points
    assert list(found) == sorted(found)
    assert found[own] == WHOLE
    assert len(set(found.values())) == points


def test_the_study_trains_each_system_once_and_shorter(tmp_path: Path) -> None:
    base = config("train.steps=600", "train.warmup_steps=60", "train.validate_every=200", "paper.steps=60")
    study = study_of(dataclasses.replace(base, run=str(tmp_path)), RunFolder(tmp_path))
    assert study.gensr == WHOLE
    assert len(set(study.labels)) == len(study.labels) == 1 + len(ablations(base)) + 2 * (base.paper.points - 1)
    train = study.config.train
    assert (train.steps, train.warmup_steps, train.validate_every) == (60, 6, 60)
    assert study.config.evaluation.catalogue_rows == 0
    assert study.config.run == str(tmp_path)  # its shards are the run's
    assert study.plan.seeds == PaperConfig().seeds


def test_the_folder_of_the_trainings_is_that_of_their_settings(tmp_path: Path) -> None:
    run, base = RunFolder(tmp_path), config()
    folder = study_of(base, run).folder
    assert study_of(dataclasses.replace(base, run="elsewhere"), run).folder == folder
    assert study_of(config("model.dropout=0"), run).folder != folder


def test_a_log_that_was_moved_trains_nothing_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    here, there = (
        config("data.source=tables", f"data.raw={place}", f"data.shards={place}/shards")
        for place in ("/here", "/there")
    )
    assert study_of(here, run).folder == study_of(there, run).folder


def test_checkpoints_are_kept_and_change_no_result() -> None:
    base = config("train.steps=600")
    kept = with_checkpoints(base).train
    assert kept.checkpoint_every == 75
    assert kept.keep_last >= 8
    assert dataclasses.replace(kept, checkpoint_every=200, keep_last=2) == base.train
