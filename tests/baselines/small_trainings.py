"""Settings of the trainings in test_training."""

from typing import Any

from gensr_dist.baselines.contract import Settings
from gensr_dist.config.root import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.train.config import TrainConfig
from tests.baselines.builders import small_settings

CONFIG = Config(
    data=DataConfig(history=4),
    train=TrainConfig(validate_rows=30, workers=0),
    evaluation=EvaluationConfig(rows=40, catalogue_rows=10, bootstrap=20),
)
WITHOUT_CHANCE = {"dropout": 0.0, "word_negatives": 0}  # ranks draw their own


def settings_of(name: str, **changes: Any) -> Settings:
    """Three epochs with dropout, validated twice an epoch."""
    return small_settings(name, **{"batch": 16, "epochs": 3, "dropout": 0.2, "validate_every": 0.5, **changes})
