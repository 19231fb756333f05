"""What trials after the published one search, the same for every baseline that has the setting."""

from collections.abc import Collection, Mapping

from optuna import Trial

from gensr_dist.baselines.contract import Settings

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


def suggested(trial: Trial, settings: Settings, fixed: Collection[str]) -> tuple[str, ...]:
    """Overrides of a baseline's settings, drawn by the trial's sampler.

    Args:
        trial: of the search.
        settings: of the baseline.
        fixed: names of settings that are not searched.
    """
    drawn: dict[str, str | int | float | None] = {}
    if "learning_rate" not in fixed:
        drawn["learning_rate"] = trial.suggest_float("learning_rate", *_LEARNING_RATE, log=True)
    for name, choices in _CHOICES.items():
        if hasattr(settings, name) and name not in fixed:
            drawn[name] = trial.suggest_categorical(name, choices)
    if drawn.get("loss", getattr(settings, "loss", "")) == "ce" and "item_input" in drawn:
        drawn["item_input"] = "id"  # vectors of the whole catalogue are at hand for those alone
    return tuple(f"{name}={value}" for name, value in drawn.items())
