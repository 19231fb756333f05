"""Settings of the trials of a baseline: the published ones, those of a plan, and those that a search draws."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gensr_dist.baselines.contract import Settings
from gensr_dist.baselines.settings import read_settings
from gensr_dist.study.spec import TrialSpec

if TYPE_CHECKING:
    from optuna import Trial

_LEARNING_RATE = (1e-4, 3e-3)  # log-uniform
_CHOICES: Mapping[str, tuple[str | int | float, ...]] = {
    "dropout": (0.0, 0.1, 0.3, 0.5),
    "weight_decay": (0.0, 1e-6, 1e-4, 1e-2),
    "width": (64, 128),
    "layers": (1, 2),
    "loss": ("bce", "ce", "sampled", "gbce"),
    "negatives": (1, 4, 99),
    "item_input": ("id", "cf", "id+cf"),
}


def baseline_settings(name: str, overrides: Sequence[str]) -> Settings:
    """The published settings of a baseline with those that `KEY=VALUE` replaces.

    Raises:
        InputError: as `read_settings`.
    """
    return read_settings(name, [f"{name}.{text}" for text in overrides])


def trial_settings(spec: TrialSpec) -> Settings:
    """The published settings with the trial's overrides, and no more epochs than the study allows."""
    settings = baseline_settings(spec.system, spec.set)
    if spec.epochs:
        settings = dataclasses.replace(settings, epochs=min(settings.epochs, spec.epochs))
    return settings


def searched_overrides(trial: "Trial", name: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """The plan's own overrides of a baseline, and drawn ones of what it leaves open: from one space for all baselines.

    Args:
        trial: of the search, whose sampler draws.
        name: of the baseline.
        own: of the plan.
    """
    settings, fixed = baseline_settings(name, own), {text.partition("=")[0] for text in own}
    drawn: dict[str, str | int | float | None] = {}
    if "learning_rate" not in fixed:
        drawn["learning_rate"] = trial.suggest_float("learning_rate", *_LEARNING_RATE, log=True)
    for key, choices in _CHOICES.items():
        if hasattr(settings, key) and key not in fixed:
            drawn[key] = trial.suggest_categorical(key, choices)
    if drawn.get("loss", getattr(settings, "loss", "")) == "ce" and "item_input" in drawn:
        drawn["item_input"] = "id"  # vectors of the whole catalogue are at hand for those alone
    return (*own, *(f"{key}={value}" for key, value in drawn.items()))
