"""The entry point that `deepspeed --module gensr_dist.train`, `torchrun -m gensr_dist.train` and `python -m` start."""

import argparse
import dataclasses
import logging
import os
import sys
from pathlib import Path

from gensr_dist.config import load_config
from gensr_dist.errors import InputError
from gensr_dist.run_folder import RunFolder
from gensr_dist.stages import Recorder
from gensr_dist.train.loop import train


def main(arguments: list[str] | None = None) -> int:
    """Train on this rank; returns the exit code: 0, or 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m gensr_dist.train",
        description="Train GenSR on a run folder that `gensr prepare` and `gensr lightgcn` have filled.",
        epilog="Example: torchrun --nproc_per_node 8 -m gensr_dist.train configs/kuaisar.yaml --set train.zero_stage=2",
    )
    parser.add_argument("config", type=Path, help="YAML config of the run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override a setting"
    )
    parser.add_argument(
        "--restart", action="store_true", help="delete this run's checkpoints and start anew, instead of resuming"
    )
    parser.add_argument(
        "--local_rank", "--local-rank", help=argparse.SUPPRESS
    )  # the launchers also set it as a variable
    options = parser.parse_args(arguments)
    rank = int(os.environ.get("RANK", "0"))
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s")
    try:
        config = load_config(options.config, options.overrides)
        run = RunFolder.of(config)
        recorded = rank == 0 and run.stages.is_dir()  # by the commands of `gensr`, which then go on from here
        recorder = Recorder("train", config, run) if recorded else None
        result = train(config, run, resume=not options.restart)
    except InputError as error:
        prefix = "" if rank == 0 else f"rank {rank}: "
        print(f"{prefix}{error}", file=sys.stderr)
        return 2
    if rank == 0:
        summary = (
            f"trained {result.steps} steps in {result.seconds:.0f} s, {result.rows_per_second:,.0f} rows/s; "
            f"best validation NDCG@10 {result.best_ndcg:.4f} at step {result.best_step}"
        )
        if recorder is not None:
            recorder.finish((summary,), dataclasses.asdict(result))
        print(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
