"""Both analyses of a trained run, with a peer and without, and of runs that lack what they need."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from gensr_dist.analysis import moments
from gensr_dist.analysis.gradient_conflict import mini_batches
from gensr_dist.analysis.gradient_conflict.analysis import GradientConflict
from gensr_dist.analysis.moments import moments_of_gensr, moments_of_peer
from gensr_dist.analysis.registry import analysis
from gensr_dist.analysis.subject import NO_PEER, Peer, Subject
from gensr_dist.analysis.subspaces import clouds, pictures
from gensr_dist.analysis.subspaces.analysis import Subspaces
from gensr_dist.analysis.subspaces.geometry import FEWEST_USERS
from gensr_dist.baselines.training import train_baseline
from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.train.checkpoints import discard
from gensr_dist.train.loop import train
from tests.baselines.small_trainings import settings_of
from tests.train.small_runs import small_config

PEER = settings_of("unisar", epochs=1)


@pytest.fixture(scope="module")
def config() -> Config:
    config = small_config()
    return replace(config, model=replace(config.model, dropout=0.0))


@pytest.fixture(scope="module")
def trained(small_run_of_module: RunFolder, config: Config) -> RunFolder:
    """Both models of a small log: read it, never write into it."""
    run = small_run_of_module
    train(config, run)
    train_baseline("unisar", PEER, config, PreparedData.open(run, config, folds=True), run.baseline("unisar"))
    return run


@pytest.fixture
def subject(trained: RunFolder, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A copy of the trained run, with fewer rows than are asked of real ones."""
    monkeypatch.setattr(clouds, "FEWEST", 30)
    monkeypatch.setattr(mini_batches, "MINI_BATCHES", 8)
    monkeypatch.setattr(pictures, "_MOST_PICTURES", 2)
    run = RunFolder(shutil.copytree(trained.root, tmp_path / "run", symlinks=True))
    return Subject(run=run, config=config, peer=Peer(name="unisar", run=run, settings=PEER))


def test_moments_begin_as_the_training_did_and_end_as_it_ended(subject: Subject) -> None:
    found = moments_of_gensr(subject)
    assert [moment.step for moment in found] == [0, 2, 4]
    first, *_, last = (moment.open().model.cf_projection.weight for moment in found)
    torch.manual_seed(subject.config.seed)
    assert not torch.equal(first, last)
    assert torch.equal(first, found[0].open().model.cf_projection.weight)
    best = subject.trained.model.cf_projection.weight
    assert any(torch.equal(best, moment.open().model.cf_projection.weight) for moment in found[1:])
    steps = [moment.step for moment in moments_of_peer(subject)]
    assert steps[0] == 0
    assert len(steps) > 1


def test_reports_hold_figures_numbers_and_claims(subject: Subject, tmp_path: Path) -> None:
    for each in (Subspaces(), GradientConflict()):
        finding = each.find(subject)
        folder = tmp_path / each.name
        folder.mkdir()
        finding.write(folder)
        written = json.loads((folder / "finding.json").read_text(), parse_constant=pytest.fail)  # no NaN
        names = {chart["name"] for chart in written["charts"]}
        assert all((folder / f"{name}.png").is_file() for name in names)
        assert len(names) == len(written["charts"])
        assert {claim["holds"] for claim in written["claims"]} <= {"yes", "no", "undecided"}
        if each.name == "subspaces":
            assert {"inputs-tsne", "states-gensr-hidden", "states-unisar-shared", "strip-linear"} <= names
            assert "strip-gensr-hidden-00000000" in names
            assert len(written["claims"]) == 3
            assert set(written["numbers"]["spaces"]) == {
                *("GenSR: input", "GenSR: filtered", "GenSR: hidden"),
                *("UniSAR: input", "UniSAR: shared", "UniSAR: hidden"),
            }
            assert written["numbers"]["spaces"]["GenSR: input"]["linear"]["value"] > 0.95  # the prompt names the task
            few = written["numbers"]["rows"]["users_of_both"] < FEWEST_USERS
            assert any("no CKA" in problem for problem in written["problems"]) == few
        else:
            assert {"conflict-cosine", "conflict-negative-gensr", "conflict-negative-unisar"} <= names
            assert len(written["claims"]) == 2
            assert set(written["numbers"]["GenSR"]["by step"]) == {"0", "2", "4"}
            layers = written["numbers"]["UniSAR"]["checkpoints"]
            assert "experts" in layers
            assert "towers" not in layers  # of one task each


def test_without_a_peer_gensr_alone_is_looked_at(subject: Subject) -> None:
    alone = replace(subject, peer=None)
    found = [each.find(alone) for each in (Subspaces(), GradientConflict())]
    for finding in found:
        assert NO_PEER in finding.problems
        assert not any("UniSAR" in key for key in finding.numbers)
        assert finding.charts
    assert found[0].claims[-1].statement == "GenSR separates the tasks into subspaces"
    assert not found[1].claims  # both are of two models


def test_a_model_that_is_not_finite_fails_its_figures_and_not_the_report(subject: Subject) -> None:
    with torch.no_grad():
        subject.opened_peer.networks.experts.shared.linear.weight.fill_(torch.nan)
    finding = Subspaces().find(subject)
    assert "UniSAR: shared: not finite, or all points alike" in finding.problems
    assert {"GenSR: hidden", "UniSAR: input"} <= finding.numbers["spaces"].keys()
    assert "UniSAR: shared" not in finding.numbers["spaces"]

    alone = replace(subject, peer=None)
    with torch.no_grad():
        alone.trained.model.cf_projection.weight.fill_(torch.nan)
    finding = Subspaces().find(alone)
    assert "GenSR: hidden" not in finding.numbers["spaces"]
    assert [claim.statement for claim in finding.claims] == [
        "Both tasks' inputs [f_cf, f_sem] have different distributions"
    ]


def test_gradients_that_are_not_finite_are_left_out(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    load = moments.load_checkpoint

    def broken(model: nn.Module, path: Path) -> None:
        load(model, path)
        if path.name.endswith("2"):
            with torch.no_grad():
                next(model.parameters()).fill_(torch.nan)

    monkeypatch.setattr(moments, "load_checkpoint", broken)
    finding = GradientConflict().find(replace(subject, peer=None))
    assert "GenSR at step 2: no finite gradient of shared weights" in finding.problems
    assert set(finding.numbers["GenSR"]["by step"]) == {"0", "4"}


def test_runs_that_lack_something(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clouds, "FEWEST", 10_000)
    with pytest.raises(
        InputError, match=r"test rows of rec, and at least 10000 are needed; analyse a run of a log with"
    ):
        analysis("subspaces").find(subject)
    monkeypatch.setattr(clouds, "FEWEST", 1)
    monkeypatch.setattr(clouds, "FEWEST_USERS", 1_000)
    with pytest.raises(InputError, match=r"test rows of \d+ users in rec, and at least 1000 are needed"):
        analysis("subspaces").find(subject)
    discard(subject.run.checkpoints)
    with pytest.raises(InputError, match=r"no whole checkpoint of the training; run `gensr train` again"):
        analysis("gradient-conflict").find(subject)
