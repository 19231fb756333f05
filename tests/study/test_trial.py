"""A trial of GenSR: what its budget counts."""

import pytest

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.study.spec import TrialSpec
from gensr_dist.study.trial import _train_gensr
from gensr_dist.train import loop
from gensr_dist.train.checkpoints import series_in
from gensr_dist.train.report import TrainResult
from tests.train.small_runs import small_config


def test_earlier_starts_count_for_the_budget(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(steps=2, validate_every=1, checkpoint_every=1)
    trained = loop.train(config, small_run)
    saved = series_in(small_run.checkpoints)
    spent = saved.read(saved.path(2)).seconds
    assert spent > 0
    limits: list[float] = []

    def training(config: Config, run: RunFolder) -> TrainResult:
        limits.append(config.train.max_hours)
        return trained

    monkeypatch.setattr(loop, "train", training)

    def again(hours: float) -> tuple[float, float, int]:
        spec = TrialSpec(label="GenSR", system="gensr", set=(), seed=0, epochs=0, hours=hours, config="", folder="")
        return _train_gensr(spec, config, small_run)

    assert again(spent / 2 / 3600) == (pytest.approx(spent), pytest.approx(trained.best_ndcg), 0)
    assert limits == []
    assert again((spent + 36) / 3600)[2] == again(0)[2] == 2
    assert limits == [pytest.approx(0.01), 0]
