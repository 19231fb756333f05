"""`gensr paper`: every table and figure of the paper for one run."""

import argparse
from typing import Any

from gensr_dist.cli.commands import Commands, add_config, add_ray, check_ray, load, told
from gensr_dist.cli.studies import trial_engine
from gensr_dist.stages.runner import Say


def add_paper(commands: Commands) -> None:
    """Add the command."""
    added = commands.add(
        "paper",
        _paper,
        "make every table and figure of the paper for a run, and say claim by claim what holds",
        "Runs what has not run: all stages, UniSAR as the discriminative peer, every analysis, trainings of ablations\n"
        "and sweeps (section `paper` says how many and how long). Results: RUN/paper with report.html (one file, no\n"
        "network), paper.json, figures/ as PNG and PDF; the figures also stand in TensorBoard. What is unchanged is\n"
        "skipped, a killed one goes on.",
        "gensr paper configs/quickstart.yaml",
    )
    add_config(added)
    add_ray(added)


def _paper(options: argparse.Namespace, say: Say) -> Any:
    check_ray(options)
    from gensr_dist.paper.driver import make_paper
    from gensr_dist.paper.report import REPORT
    from gensr_dist.runs.folder import RunFolder

    config = load(options)
    result = told(make_paper(config, trial_engine(options), say), say)
    say(f"the whole report: {RunFolder.of(config).paper / REPORT}")
    return result
