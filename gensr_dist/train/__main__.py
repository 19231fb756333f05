"""The entry point that `deepspeed --module gensr_dist.train`, `torchrun -m gensr_dist.train` and `python -m` start."""

import sys
from collections.abc import Sequence

from gensr_dist.config.root import Config
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.run.folder import RunFolder
from gensr_dist.stages.rank_command import run_rank
from gensr_dist.train.loop import train
from gensr_dist.train.report import TrainResult


def main(arguments: Sequence[str] | None = None) -> int:
    """Train GenSR on this rank; returns the exit code."""
    return run_rank(
        "gensr_dist.train",
        "train",
        _train,
        _summary,
        "Train GenSR on a run folder that `gensr prepare` and `gensr lightgcn` have filled.",
        "torchrun --nproc_per_node 8 -m gensr_dist.train configs/kuaisar.yaml --set train.zero_stage=2",
        arguments,
    )


def _train(config: Config, run: RunFolder, ranks: Ranks, resume: bool) -> TrainResult:
    return train(config, run, resume)


def _summary(result: TrainResult) -> str:
    trained = (
        f"trained {result.steps} steps in {result.seconds:.0f} s, {result.rows_per_second:,.0f} rows/s; "
        f"best validation NDCG@10 {result.best_ndcg:.4f} at step {result.best_step}"
    )
    return "\n".join([trained, *(f"warning: {line}" for line in result.warnings)])


if __name__ == "__main__":
    sys.exit(main())
