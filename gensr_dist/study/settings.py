"""Settings of a baseline's trial."""

import dataclasses

from gensr_dist.baselines.contract import Settings
from gensr_dist.baselines.settings import read_settings
from gensr_dist.study.spec import TrialSpec


def trial_settings(spec: TrialSpec) -> Settings:
    """The published settings with the trial's overrides, and no more epochs than the study allows."""
    settings = read_settings(spec.system, [f"{spec.system}.{text}" for text in spec.set])
    if spec.epochs:
        settings = dataclasses.replace(settings, epochs=min(settings.epochs, spec.epochs))
    return settings
