"""A rank that does something to itself before a step, once a run: `misbehaving_rank.py WHAT STEP RANK CONFIG`."""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gensr_dist.cli.main import main
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.train import loop
from gensr_dist.train.prefetcher import Prefetcher

WHAT, STEP, RANK, CONFIG = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
optimize, forward = loop._Training._optimize, GenSR.forward


def misbehaving(training: Any, prefetcher: Prefetcher) -> Any:
    done = CONFIG.with_name("misbehaved")
    if training.progress.steps + 1 == STEP and training.ranks.rank == RANK and not done.exists():
        done.touch()
        if WHAT == "hang":
            time.sleep(1_000)
        elif WHAT == "poison":
            GenSR.forward = poisoned
        else:
            os.kill(os.getpid(), signal.Signals[WHAT])
    return optimize(training, prefetcher)


def poisoned(model: GenSR, *arguments: Any, **options: Any) -> GenSROutput:
    output = forward(model, *arguments, **options)
    return dataclasses.replace(output, user_cf_GD=output.user_cf_GD * float("inf"))


loop._Training._optimize = misbehaving
sys.exit(main(["train", str(CONFIG)]))
