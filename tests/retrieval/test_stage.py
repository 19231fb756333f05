"""The index stage of a run: what it writes is what is opened again, with or without fitted orders and towers."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.config.root import Config, load_config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval.fitting import FittedOrders
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import IndexStageResult, index_run, open_ranker
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from tests.retrieval.conftest import CONFIG


@pytest.fixture
def copied(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A run that may be changed."""
    shutil.copytree(run.root, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def configured(**retrieval: object) -> Config:
    return dataclasses.replace(CONFIG, retrieval=dataclasses.replace(CONFIG.retrieval, **retrieval))


def asked(trained: TrainedRun, task: Behaviour) -> Requests:
    return Requests.of_rows(trained.store, trained.items, trained.store.eval_rows(Split.TEST, task))


def test_the_orders_that_were_fitted_are_opened(
    indexed: tuple[RunFolder, IndexStageResult], trained: TrainedRun
) -> None:
    run, result = indexed
    ranker = open_ranker(trained, load_config(run.config))
    assert ranker.orders == result.orders.answers
    assert ranker.generator.fusion == result.orders.fusion
    assert set(ranker.orders) == set(ranker.generator.fusion) == set(Behaviour)
    assert ranker.generator.exclude_seen
    assert result.index.items == trained.store.items
    assert result.warnings == ()
    assert ranker.generator.channels.notes == ()


def test_lines_tell_all_weights(indexed: tuple[RunFolder, IndexStageResult]) -> None:
    result = indexed[1]
    sizes, *lines = result.lines()
    assert sizes.startswith("items 80, views (cf (items 78")
    assert len(lines) == 4
    assert lines[0].startswith("fusion of rec fitted on ")
    assert "; weights a deviation: " in lines[1]
    for line, order in zip(lines[2:], result.orders.answers.values(), strict=True):
        assert line.startswith("answers of ")
        assert all(name in line for name in order.features)


@pytest.mark.parametrize("rows", [0, 40])
def test_unfitted_runs_rank_by_reciprocal_ranks_and_the_model_alone(copied: RunFolder, rows: int) -> None:
    """40 rows are too few, of which a warning tells; 0 was a choice."""
    config = configured(fit_rows=rows)
    trained = TrainedRun.open(copied, config)
    result = index_run(trained, config)
    assert result.orders == FittedOrders()
    assert result.lines()[1:] == tuple(f"warning: {warning}" for warning in result.warnings)
    told = ["rec: candidates", "search: candidates", "rec: GenSR alone", "search: GenSR alone"] if rows else []
    assert [
        " ".join(warning.split()[: len(start.split())]) for warning, start in zip(result.warnings, told, strict=True)
    ] == told
    ranker = open_ranker(trained, config)
    assert not ranker.orders
    assert not ranker.generator.fusion
    ranked = ranker.rank(asked(trained, Behaviour.SEARCH), 12)
    np.testing.assert_array_equal(ranked.score_GK, ranked.log_odds_GK)


def test_a_log_without_searches_is_not_told_of_their_order(copied: RunFolder) -> None:
    config = configured(fit_rows=40)
    trained = TrainedRun.open(copied, config)
    none = dataclasses.replace(trained.store.manifest.search, train=0)
    trained.store.manifest = dataclasses.replace(trained.store.manifest, search=none)
    assert [warning.split(":")[0] for warning in index_run(trained, config).warnings] == ["rec", "rec"]


def test_the_same_run_gives_the_same_files(
    indexed: tuple[RunFolder, IndexStageResult], copied: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gensr_dist.retrieval.fusion.learnt_order.FEWEST", 3)
    index_run(TrainedRun.open(copied, CONFIG), CONFIG)
    for path in indexed[0].index.iterdir():
        assert (copied.index / path.name).read_bytes() == path.read_bytes()


def test_a_model_without_towers_is_indexed(copied: RunFolder) -> None:
    tokenizer = TrainedRun.open(copied, CONFIG).items.tokenizer
    model = GenSR.build(dataclasses.replace(CONFIG.model, match=False), tokenizer, CONFIG.lightgcn.width)
    model.save_pretrained(copied.model, tokenizer)
    trained = TrainedRun.open(copied, CONFIG)
    index_run(trained, CONFIG)
    ranker = open_ranker(trained, CONFIG)
    assert ranker.generator.channels.notes == ("channel 'tower' is empty: the model has no match towers",)
    for task in Behaviour:
        ranked = ranker.rank(asked(trained, task), 12)
        assert (ranked.candidates.item_GK >= 0).all()
        assert np.isfinite(ranked.score_GK).all()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_indices_answer_too(copied: RunFolder, kind: str) -> None:
    config = configured(index=kind, fit_rows=0)
    trained = TrainedRun.open(copied, config)
    assert index_run(trained, config).index.kind == kind
    ranked = open_ranker(trained, config).rank(asked(trained, Behaviour.RECOMMENDATION), 12)
    assert (ranked.candidates.item_GK >= 0).all()


def test_an_index_of_another_catalogue_is_an_input_error(run: RunFolder, trained: TrainedRun) -> None:
    fewer = dataclasses.replace(trained, item_IE=trained.item_IE[:-1])
    with pytest.raises(InputError, match="made for 80 items, the shards hold 80, CF 79; run `gensr index` again"):
        open_ranker(fewer, CONFIG)


@pytest.mark.parametrize(("folder", "stage"), [("index", "index"), ("channels", "channels")])
def test_a_missing_folder_names_its_stage(copied: RunFolder, folder: str, stage: str) -> None:
    trained = TrainedRun.open(copied, CONFIG)
    shutil.rmtree(copied.root / folder)
    with pytest.raises(InputError, match=f"run `gensr {stage}` first"):
        open_ranker(trained, CONFIG)


def test_a_model_that_reads_evidence_does_not_open_without_channels(copied: RunFolder) -> None:
    shutil.rmtree(copied.channels)
    with pytest.raises(InputError, match="the file does not exist; run `gensr channels`"):
        TrainedRun.open(copied, CONFIG)


def test_a_stage_that_fails_leaves_the_index_as_it_was(
    run: RunFolder, copied: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> FittedOrders:
        raise InputError("the trained model", "broken", "train again")

    monkeypatch.setattr("gensr_dist.retrieval.stage.fit_orders", fails)
    with pytest.raises(InputError, match="broken"):
        index_run(TrainedRun.open(copied, CONFIG), CONFIG)
    assert {path.name for path in copied.index.iterdir()} == {path.name for path in run.index.iterdir()}
    assert (copied.index / "orders.json").read_bytes() == (run.index / "orders.json").read_bytes()
