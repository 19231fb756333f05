"""Trains several configs one after the other in the same ranks: `zero_matrix_driver.py CONFIG.yaml ...`."""

import gc
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist

from gensr_dist.config.root import Config, load_config
from gensr_dist.distributed.ranks import Ranks, join_processes
from gensr_dist.model.gensr import GenSR
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.records import write_json
from gensr_dist.train import engine, loop
from gensr_dist.train.config import TrainConfig

FACTS = "facts.json"

_plain_config = engine.deepspeed_config


def sharding_everything(config: TrainConfig, zero_stage: int, world: int) -> dict[str, Any]:
    """ZeRO-3 keeps parameters below 100,000 elements whole, which are nearly all of a small model's."""
    settings = _plain_config(config, zero_stage, world)
    if zero_stage == 3:
        settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    return settings


class ObservedEngine(engine.Engine[GenSR]):
    """Tells what its ranks hold between steps."""

    last: "ObservedEngine | None" = None

    def __init__(self, model: GenSR, config: TrainConfig, ranks: Ranks, learning: engine.Learning) -> None:
        super().__init__(model, config, ranks, learning)
        ObservedEngine.last = self

    def facts(self) -> dict[str, Any]:
        """Elements of the model and of those that this rank holds, and where DeepSpeed keeps what."""
        parameters = list(self.model.parameters())
        optimizer = self.deepspeed.optimizer
        return {
            "elements": sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in parameters),
            "whole": sum(parameter.numel() for parameter in parameters),
            "masters": sum(master.numel() for group in optimizer.param_groups for master in group["params"]),
            "dtype": str(parameters[0].dtype),
            "optimizer offloaded": any(
                getattr(optimizer, flag, False) for flag in ("cpu_offload", "offload_optimizer")
            ),
            "parameters offloaded": getattr(optimizer, "offload_param", False),
            "blocks recomputed": self.model.backbone.recompute,
        }


def train(config: Config) -> dict[str, Any]:
    """Train to the end and let go of what it took."""
    loop.train(config, RunFolder(Path(config.run)))
    observed = ObservedEngine.last
    assert observed is not None
    facts = observed.facts()
    observed.deepspeed.destroy()
    ObservedEngine.last = observed = None
    gc.collect()
    dist.barrier()
    return facts


def main() -> None:
    """Train each config and leave its facts beside it; from an early checkpoint, where it has one, once again."""
    engine.deepspeed_config = sharding_everything
    loop.Engine = ObservedEngine
    ranks = join_processes()
    for argument in sys.argv[1:]:
        began = time.perf_counter()
        path = Path(argument)
        config = load_config(path)
        facts = train(config)
        if config.train.checkpoint_every < config.train.steps:
            if ranks.first:
                shutil.rmtree(RunFolder(Path(config.run)).checkpoints / f"step_{config.train.steps:08d}")
            dist.barrier()
            facts = train(config)
        if ranks.first:
            write_json(path.parent / FACTS, facts)
            print(f"{path.parent.name} {time.perf_counter() - began:.1f} s", flush=True)
    ranks.wait()


if __name__ == "__main__":
    main()
