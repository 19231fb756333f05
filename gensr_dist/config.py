"""The configuration of a run: YAML file, then `--set a.b=c` overrides, validated into dataclasses."""

from dataclasses import dataclass, field

from gensr_dist.data.config import DataConfig, SimulateConfig
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.model.config import ModelConfig
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run depends on. Each section lives beside the code that it configures."""

    run: str = "runs/default"  # folder that receives every stage's results
    seed: int = 0
    simulate: SimulateConfig = field(default_factory=SimulateConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lightgcn: LightGCNConfig = field(default_factory=LightGCNConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
