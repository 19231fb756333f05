"""`gensr` commands and processes of the benchmarks without their imports."""

import time
from collections.abc import Sequence
from types import SimpleNamespace

from gensr_dist.bench.commands import Finished
from gensr_dist.errors import InputError
from tests.forked_ranks import CONTEXT, run_forked

FORKED = SimpleNamespace(get_context=lambda method: CONTEXT)  # in place of `multiprocessing`


def run_gensr_forked(
    command: str, *options: str, launcher: Sequence[str] = (), threads: int = 0, at_most_s: float = 280
) -> Finished:
    """`run_gensr`, whose last word of `launcher` is the number of ranks; without `--json` and memory."""
    began = time.monotonic()
    ranks = int(launcher[-1]) if launcher else 0
    done = run_forked(["gensr_dist", *command.split(), *options], ranks=ranks, timeout=at_most_s)
    if done.returncode:
        raise InputError(f"gensr {command}", done.stderr.strip().splitlines()[-1], "correct that first")
    return Finished(None, round(time.monotonic() - began, 2), 0.0)
