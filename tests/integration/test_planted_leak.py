"""A log whose CF vectors know the training rows and nothing else, and whose texts know all rows.

Which users share an item is chance, so that vectors of the whole graph rank training rows nearly perfectly and held-out
rows by chance. Each user has a word of its own that stands in the titles of all its items, before and after the split.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import run_stage
from gensr_dist.stages.stage import PrepareWorkers

USERS = 240
TAKEN = 10  # items a user, the last two held out
SHARED = 4  # users an item
NOISE = 4  # words of a title that stand for nobody
NOISE_WORDS = 200
DAY = 86_400_000
START = 1_600_000_000_000
SETTINGS = (
    "data.source=tables",
    "data.split=leave_one_out",
    "data.min_interactions=1",
    "data.both_behaviours=false",
    "data.vocabulary=1200",
    "data.history=10",
    "lightgcn.width=32",
    "lightgcn.layers=2",
    "lightgcn.epochs=60",
    "lightgcn.batch=512",
    "lightgcn.learning_rate=0.02",
    "lightgcn.validate_every=60",
    "model.semantic_history=pooled",
    "model.dropout=0",
    "model.history_evidence=false",  # without the vectors counts of words alone answer here
    "train.steps=150",
    "train.batch=32",
    "train.warmup_steps=20",
    "train.learning_rate=2e-3",
    "train.likelihood=answers",
    "train.validate_every=150",
    "train.validate_rows=100",
    "train.checkpoint_every=150",
    "train.workers=0",
    "evaluation.bootstrap=0",
    "evaluation.catalogue_rows=0",
)
WHOLE_GRAPH = ("lightgcn.folds=0",)
PAPER = (
    "model.match=false",
    "model.history_match=false",
    "model.term_match=false",
    "train.match_weight=0",
    "train.steps=300",  # without products it learns even the leak slowly
    "train.validate_every=300",
)


@dataclass(frozen=True)
class Arm:
    """One way to train, on the same log."""

    leak: dict[str, Any]  # of the stage lightgcn
    warnings: tuple[str, ...]
    training: float  # NDCG@10 of training rows
    test: float  # of test rows


def words() -> list[str]:
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return [first + second for first in syllables for second in syllables]


def random_takers(rng: np.random.Generator) -> np.ndarray:
    """The items of each user [users, taken]: no item twice a user, each by as many users."""
    item_UT = rng.permutation(np.repeat(np.arange(USERS * TAKEN // SHARED), SHARED)).reshape(USERS, TAKEN)
    for own in item_UT:
        while len(repeated := np.flatnonzero([item in own[:place] for place, item in enumerate(own)])):
            first, other, place = repeated[0], rng.integers(USERS), rng.integers(TAKEN)
            if item_UT[other, place] not in own and own[first] not in item_UT[other]:
                own[first], item_UT[other, place] = item_UT[other, place], own[first]
    return item_UT


def write_log(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    item_UT = random_takers(rng)
    drawn = rng.permutation(words()).tolist()
    own, noise = drawn[:USERS], drawn[USERS : USERS + NOISE_WORDS]
    titles = [rng.choice(noise, NOISE).tolist() for _ in range(USERS * TAKEN // SHARED)]
    events = []
    for user, items in enumerate(item_UT.tolist()):
        for step, item in enumerate(items):
            titles[item].append(own[user])
            events.append(f"u{user},i{item},rec,{START + step * DAY + user}")
    texts = [f"i{item},{' '.join(rng.permutation(title))}" for item, title in enumerate(titles)]
    folder.mkdir()
    (folder / "events.csv").write_text("\n".join(["user_id,item_id,behaviour,time", *events, ""]))
    (folder / "items.csv").write_text("\n".join(["item_id,text", *texts, ""]))


class Planted:
    """The log, prepared once."""

    def __init__(self, folder: Path, seed: int) -> None:
        write_log(folder / "raw", seed)
        self.settings = [f"run={folder / 'run'}", f"data.raw={folder / 'raw'}", f"seed={seed}", *SETTINGS]
        self._stage("prepare")
        self.vectors: dict[str, Any] = {}  # ways to make them, and what their stage told

    def train(self, *ways: str) -> Arm:
        of_vectors = " ".join(way for way in ways if way.startswith("lightgcn."))
        if of_vectors not in self.vectors:
            self.vectors = {of_vectors: self._stage("lightgcn", *ways)}
        stages = {name: self._stage(name, *ways) for name in ("channels", "train", "index", "evaluate")}
        metrics = stages["evaluate"]
        return Arm(
            leak=self.vectors[of_vectors]["leak"],
            warnings=tuple(stages["train"]["warnings"]),
            training=metrics["fit"]["tasks"]["rec"]["training"]["ndcg@10"],
            test=metrics["rec"]["ndcg@10"],
        )

    def _stage(self, name: Any, *ways: str) -> Any:
        config = load_config(None, [*self.settings, *ways])
        return run_stage(BY_NAME[name], config, lambda line: None, PrepareWorkers(processes=1)).result


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"), seed=1)


@pytest.fixture(scope="module")
def paper(planted: Planted, without_folds: Arm) -> Arm:
    """After the other on the same vectors."""
    return planted.train(*WHOLE_GRAPH, *PAPER)


@pytest.fixture(scope="module")
def without_folds(planted: Planted) -> Arm:
    return planted.train(*WHOLE_GRAPH)


@pytest.fixture(scope="module")
def default(planted: Planted) -> Arm:
    return planted.train()


def test_the_way_of_the_paper_learns_the_leak_and_ranks_by_chance(paper: Arm, default: Arm) -> None:
    assert paper.training > 0.15
    assert paper.test < 0.15  # chance has .045
    assert default.test > 0.5
    assert default.test - paper.test > 0.35


def test_folds_alone_decide_what_the_same_model_learns(without_folds: Arm, default: Arm) -> None:
    assert without_folds.training > 0.85
    assert without_folds.test < 0.4
    assert default.test - without_folds.test > 0.25
    assert abs(default.training - default.test) < 0.15


def test_the_stage_measures_the_leak(without_folds: Arm, default: Arm) -> None:
    for arm in (without_folds, default):
        assert arm.leak["training_whole"] > 0.7
        assert arm.leak["validation"] < 0.12
    assert without_folds.leak["training_without"] is None
    assert default.leak["training_without"] < 0.12


def test_warnings_name_the_vectors_where_they_leak(paper: Arm, without_folds: Arm, default: Arm) -> None:
    cause = "CF vectors have seen the training rows' edges (lightgcn.folds)"
    for arm in (paper, without_folds):
        assert len(arm.warnings) == 1
        assert arm.warnings[0].startswith("rec: ndcg@10 ")
        assert arm.warnings[0].endswith(cause)
    assert all(cause not in line for line in default.warnings)
