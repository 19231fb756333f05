"""The stages, in the order of the data."""

from gensr_dist.config.root import Config
from gensr_dist.stages.channels import Channels
from gensr_dist.stages.evaluate import Evaluate
from gensr_dist.stages.index import Index
from gensr_dist.stages.lightgcn import LightGCN
from gensr_dist.stages.prepare import Prepare
from gensr_dist.stages.simulate import Simulate
from gensr_dist.stages.stage import Stage
from gensr_dist.stages.train import Train

STAGES: tuple[Stage, ...] = (Simulate(), Prepare(), LightGCN(), Channels(), Train(), Index(), Evaluate())
BY_NAME = {stage.name: stage for stage in STAGES}


def plan(config: Config) -> tuple[Stage, ...]:
    """The stages of a whole run."""
    return tuple(stage for stage in STAGES if stage.takes_part(config))
