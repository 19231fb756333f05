"""The entry point that `torchrun -m gensr_dist.graph` and `deepspeed --module gensr_dist.graph` start."""

import argparse
import dataclasses
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from gensr_dist.config import load_config
from gensr_dist.errors import InputError
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.stage import lightgcn
from gensr_dist.run_folder import RunFolder
from gensr_dist.stages import Recorder, locked
from gensr_dist.train.processes import join_processes


def main(arguments: list[str] | None = None) -> int:
    """Train LightGCN on this rank; returns the exit code: 0, or 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m gensr_dist.graph",
        description="Train LightGCN on a run folder that `gensr prepare` has filled; the ranks share the columns.",
        epilog="Example: torchrun --nproc_per_node 4 -m gensr_dist.graph configs/kuaisar.yaml",
    )
    parser.add_argument("config", type=Path, help="YAML config of the run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override a setting"
    )
    parser.add_argument(
        "--restart", action="store_true", help="delete the checkpoint and start anew, instead of resuming"
    )
    parser.add_argument(
        "--local_rank", "--local-rank", help=argparse.SUPPRESS
    )  # the launchers also set it as a variable
    options = parser.parse_args(arguments)
    rank = int(os.environ.get("RANK", "0"))
    try:
        config = load_config(options.config, options.overrides)
        run = RunFolder.of(config)
        with locked(run) if rank == 0 else nullcontext():
            recorder = Recorder("lightgcn", config, run) if rank == 0 and run.stages.is_dir() else None
            joined = join_processes()
            ranks = ColumnRanks(joined.rank, joined.world, joined.device)
            same_settings = recorder is None or recorder.resume
            resume = bool(ranks.as_first(same_settings and not options.restart))
            result = lightgcn(config, run, resume=resume, ranks=ranks)
            if rank == 0:
                recall = "unknown" if result.recall_at_20 is None else f"{result.recall_at_20:.4f}"
                summary = (
                    f"trained {result.epochs} epochs on {result.edges:,} edges in {result.seconds:.0f} s; "
                    f"best recall@20 {recall} in epoch {result.best_epoch}"
                )
                if recorder is not None:
                    recorder.finish((summary,), dataclasses.asdict(result))
                print(summary)
    except InputError as error:
        print(f"{'' if rank == 0 else f'rank {rank}: '}{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
