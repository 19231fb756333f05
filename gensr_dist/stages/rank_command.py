"""The command line of programs that `torchrun`, `deepspeed` and Slurm start on every rank."""

import argparse
import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from gensr_dist.cli.arguments import OneLineParser
from gensr_dist.cli.standard_streams import open_closed_streams
from gensr_dist.config.root import Config, load_config
from gensr_dist.distributed.heartbeat import end_process, lost_connection, say
from gensr_dist.distributed.ranks import Ranks, join_processes, meet
from gensr_dist.errors import InputError, Paused
from gensr_dist.run.folder import RunFolder
from gensr_dist.run.records import Recorder, StageName, locked
from gensr_dist.storage.output_errors import as_input_error, quieten_writing_threads

Result = TypeVar("Result")

# How often a launcher has started the same command again by itself.
_RESTART_COUNTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


def run_rank(
    program: str,
    stage: StageName,
    work: Callable[[Config, RunFolder, Ranks, bool], Result],
    summary: Callable[[Result], str],
    description: str,
    example: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """Do a stage's work on this rank; returns the exit code: 0, or 2 for input that cannot be used.

    When another rank or its machine is lost, the process says so and ends with code 1.

    Args:
        program: module that is started.
        stage: whose record rank 0 leaves, where the run folder has been filled by the commands of `gensr`.
        work: gets the config, the run folder, this rank, and whether to go on from a checkpoint.
        summary: one line about the result.
        description: of the program, for --help.
        example: of a command.
        arguments: of the command line; by default those of this process.
    """
    parser = OneLineParser(prog=f"python -m {program}", description=description, epilog=f"Example: {example}")
    parser.add_argument("config", type=Path, help="YAML config of the run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override a setting"
    )
    parser.add_argument(
        "--resume",
        choices=("auto", "never"),
        default="auto",
        help="auto (the default): go on from the newest checkpoint, if there is one; never: delete this run's "
        "checkpoints and start anew, except where a launcher restarts the run after a failure",
    )
    for name in ("--local_rank", "--local-rank"):
        parser.add_argument(name, dest="local_rank", help=argparse.SUPPRESS)  # launchers also set it as a variable
    open_closed_streams()
    quieten_writing_threads()
    options = parser.parse_args(arguments)
    rank = 0
    try:
        rank = _given_number("RANK")
        logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(message)s")
        config = load_config(options.config, options.overrides)
        run = RunFolder.of(config)
        with (
            locked(run) if rank == 0 else nullcontext(),
            Recorder(stage, config, run) if rank == 0 and run.stages.is_dir() else nullcontext() as recorder,
        ):
            ranks = join_processes()
            same_settings = recorder is None or recorder.resume
            resume = _as_first(same_settings and (options.resume == "auto" or _restarted()), ranks)
            try:
                result = work(config, run, ranks, resume)
            except Paused as pause:
                meet()
                if ranks.first:
                    print(pause)
                return 0
            meet()
            if ranks.first:
                if recorder is not None:
                    values: dict[str, Any] = dataclasses.asdict(result)  # type: ignore[call-overload]
                    recorder.finish((summary(result),), values)
                print(summary(result))
    except InputError as error:
        say(f"{'' if rank == 0 else f'rank {rank}: '}{error}")
        return 2
    except OSError as error:
        unwritten = as_input_error(error)
        if unwritten is None:
            raise
        say(f"{'' if rank == 0 else f'rank {rank}: '}{unwritten}")
        return 2
    except RuntimeError as error:
        problem = lost_connection(error)
        if problem is None:
            raise
        end_process(rank, problem)
    return 0


def _given_number(name: str) -> int:
    """A variable that a launcher sets; 0 without one.

    Raises:
        InputError: it is no number.
    """
    text = os.environ.get(name, "0")
    if not (text.isascii() and text.isdecimal()):
        raise InputError(name, f"{text!r}, expected a number", "start through a launcher or unset it")
    return int(text)


def _restarted() -> bool:
    """Whether a launcher repeats this command after a failure: then there is something to go on from, asked or not."""
    return any(_given_number(name) for name in _RESTART_COUNTS)


def _as_first(value: bool, ranks: Ranks) -> bool:
    """What rank 0 says."""
    said = torch.tensor([int(value)], device=ranks.device)
    dist.broadcast(said, src=0)
    return bool(said.item())
