"""The entry point that `torchrun -m gensr_dist.graph` and `deepspeed --module gensr_dist.graph` start."""

import sys
from collections.abc import Sequence

from gensr_dist.config.root import Config
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.result import LightGCNResult
from gensr_dist.graph.stage import lightgcn
from gensr_dist.run.folder import RunFolder
from gensr_dist.stages.rank_command import run_rank


def main(arguments: Sequence[str] | None = None) -> int:
    """Train LightGCN on this rank; returns the exit code."""
    return run_rank(
        "gensr_dist.graph",
        "lightgcn",
        _lightgcn,
        _summary,
        "Train LightGCN on a run folder that `gensr prepare` has filled; the ranks share the columns.",
        "torchrun --nproc_per_node 4 -m gensr_dist.graph configs/kuaisar.yaml",
        arguments,
    )


def _lightgcn(config: Config, run: RunFolder, ranks: Ranks, resume: bool) -> LightGCNResult:
    return lightgcn(config, run, resume=resume, ranks=ColumnRanks(ranks.rank, ranks.world, ranks.device))


def _summary(result: LightGCNResult) -> str:
    return "\n".join(result.summary())


if __name__ == "__main__":
    sys.exit(main())
