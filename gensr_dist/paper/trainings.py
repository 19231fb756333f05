"""The trainings of the paper's figures 4 and 5 as one study: GenSR, its ablations, and points of two sweeps."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from gensr_dist.config.root import Config, flattened
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.records import digest
from gensr_dist.study.plan import GENSR, Study, StudyPlan, SystemPlan
from gensr_dist.train.config import TrainConfig

WHOLE = "GenSR"
TEMPERATURE, WEIGHT = "train.temperature", "train.contrastive_weight"
SWEPT = {TEMPERATURE: "temperature", WEIGHT: "contrastive weight"}
_SCOPES = {TEMPERATURE: (0.02, 0.05, 0.1, 0.2, 0.5), WEIGHT: (0.0001, 0.001, 0.01, 0.1, 1.0)}
_CHECKPOINTS = 8  # moments of the training that analyses look at


@dataclass(frozen=True)
class Ablation:
    """GenSR without one of its parts."""

    label: str
    claim: str  # what it would mean that it is worse, before the name of a task
    overrides: tuple[str, ...]
    of_paper: bool  # figure 4, or a question of our own


def ablations(config: Config) -> tuple[Ablation, ...]:
    """Those that differ from the config; of one task alone with half the batch, so that it sees as many of its rows."""
    half = f"train.batch={max(1, config.train.batch // 2)}"
    uniform = ("data.negatives=uniform", "data.hard_negatives=0", "data.query_negatives=0")
    of_paper = (
        ("no CF view", "The CF view helps", ("model.cf_view=false",)),
        ("no semantic view", "The semantic view helps", ("model.semantic_view=false",)),
        ("no soft filter", "Soft filtering helps", ("model.soft_filter=false",)),
        ("no contrast", "The contrastive loss helps", (f"{WEIGHT}=0",)),
    )
    ours = (
        ("no cross-fitting", "The cross-fitting of CF vectors helps", ("lightgcn.folds=0",)),
        ("joint scoring", "Shared scoring helps", ("model.scoring=joint",)),
        ("uniform negatives", "Negatives that are not uniform help", uniform),
        ("rec alone", "Search rows help", ("train.tasks=recommendation", half)),
        ("search alone", "Recommendation rows help", ("train.tasks=search", half)),
    )
    every = [Ablation(label, claim, settings, of_paper=True) for label, claim, settings in of_paper]
    every += [Ablation(label, claim, settings, of_paper=False) for label, claim, settings in ours]
    return tuple(each for each in every if changes(config, each.overrides))


def sweep(config: Config, key: str) -> Mapping[float, str]:
    """Points of a sweep in order, by value: the labels of their systems. The config's own value is one of them."""
    own = float(flattened(config)[key])
    others = [value for value in _SCOPES[key] if value != own]
    others.sort(key=lambda value: abs(math.log(value / own)) if own else value)
    values = sorted([own, *others[: config.paper.points - 1]])
    return {value: WHOLE if value == own else f"{SWEPT[key]} {value:g}" for value in values}


def study_of(config: Config, run: RunFolder) -> Study:
    """All those trainings, on the shards and vectors of the run, in a folder named by what they depend on."""
    systems = [SystemPlan(system=GENSR, label=WHOLE)]
    systems += [SystemPlan(system=GENSR, label=each.label, set=each.overrides) for each in ablations(config)]
    for key in _SCOPES:
        points = sweep(config, key)
        systems += [
            SystemPlan(system=GENSR, label=label, set=(f"{key}={value!r}",))
            for value, label in points.items()
            if label != WHOLE
        ]
    plan = StudyPlan(config="", seeds=config.paper.seeds, systems=tuple(systems))
    shortened = dataclasses.replace(
        config, train=_shortened(config), evaluation=dataclasses.replace(config.evaluation, catalogue_rows=0)
    )
    anywhere = dataclasses.replace(config.data, raw="", shards="", cache="")
    key = digest([plan, dataclasses.replace(shortened, run="", data=anywhere)])[:8]
    return Study(plan, (run.paper / f"trainings-{key}").absolute(), shortened)


def with_checkpoints(config: Config) -> Config:
    """The config with a training that keeps some moments of itself; nothing else of it changes."""
    train = config.train
    every = max(1, min(train.checkpoint_every, train.steps // _CHECKPOINTS))
    kept = max(train.keep_last, _CHECKPOINTS * 4)
    return dataclasses.replace(config, train=dataclasses.replace(train, checkpoint_every=every, keep_last=kept))


def changes(config: Config, settings: tuple[str, ...]) -> bool:
    """Whether overrides change anything."""
    now = flattened(config)
    parts = [text.partition("=") for text in settings]
    return any(now[key] != yaml.safe_load(value) for key, _, value in parts)


def _shortened(config: Config) -> TrainConfig:
    train, steps = config.train, config.paper.steps
    if not steps:
        return train
    share = min(1.0, steps / train.steps)
    return dataclasses.replace(
        train,
        steps=steps,
        warmup_steps=min(steps, round(train.warmup_steps * share)),
        validate_every=steps,  # a validation costs as much as such a training
        checkpoint_every=steps,
    )
