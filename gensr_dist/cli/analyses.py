"""`gensr analyse`: what a run is like inside."""

import argparse
import dataclasses
from typing import Any

from gensr_dist.cli.arguments import local_path
from gensr_dist.cli.commands import Commands
from gensr_dist.config.root import load_config
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.runner import Say, run_stage


def add_analyses(commands: Commands) -> None:
    """Add the command."""
    added = commands.add(
        "analyse",
        _analyse,
        "look inside a finished run: information, subspaces, gradients, soft filters, its log",
        "NAME is one of `gensr analyse --list`. GenSR is compared with a discriminative peer where there is one:\n"
        "--peer RUN/baselines/NAME, or the UniSAR of this run. Results: RUN/analysis/NAME/ with finding.json,\n"
        "report.html, and a PNG and a PDF of each figure. It does nothing if nothing has changed.\n"
        "`mutual-information --check` needs no RUN: it estimates known information, which takes minutes.",
        "gensr analyse subspaces runs/quickstart",
    )
    added.add_argument("analysis", metavar="NAME", nargs="?", help="a name that `gensr analyse --list` shows")
    added.add_argument("run", metavar="RUN", nargs="?", type=local_path, help="folder of a finished run")
    added.add_argument("--list", action="store_true", help="show all analyses and end")
    added.add_argument("--check", action="store_true", help="try the estimators of mutual-information alone")
    added.add_argument(
        "--peer", metavar="RUN", type=local_path, help="RUN/baselines/NAME, or a run, whose UniSAR is meant"
    )
    added.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="replace a setting of analysis.*; repeatable"
    )


def _analyse(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.analysis.registry import ANALYSES, analysis
    from gensr_dist.analysis.subject import DEFAULT_PEER, Peer
    from gensr_dist.stages.analysis import Analysed

    if options.list:
        for each in ANALYSES:
            say(f"{each.name:<20} {each.summary}")
        return {"analyses": [{"name": each.name, "summary": each.summary} for each in ANALYSES]}
    if options.analysis is None:
        raise InputError("NAME", "no analysis is given", "`gensr analyse --list` shows them")
    chosen = analysis(options.analysis)
    if options.check:
        return _check(chosen.name, say)
    if options.run is None:
        raise InputError("RUN", "no run is given", "give the folder of a finished `gensr run`")
    if wrong := [text for text in options.set if not text.startswith("analysis.")]:
        raise InputError(f"--set {wrong[0]}", "an analysis reads a finished run", "set keys of analysis.* alone")
    home = RunFolder(options.run)
    if not home.config.is_file():
        raise InputError(options.run, "no finished run lies there", "give the folder of a finished `gensr run`")
    config = dataclasses.replace(load_config(home.config, options.set, done=True), run=str(options.run))
    run = RunFolder.of(config)
    own = run.baseline(DEFAULT_PEER)
    given = options.peer or (own.root if own.model.is_dir() else None)
    peer = Peer.at(given, run) if given and chosen.compares else None
    result = run_stage(Analysed(chosen, peer), config, say)
    say(f"the whole report: {run.analysis(chosen.name) / 'report.html'}")
    return result


def _check(name: str, say: Say) -> Any:
    from gensr_dist.analysis.information.check import as_object, check, check_heads, largest_error
    from gensr_dist.analysis.information.mutual_information import MutualInformation

    if name != MutualInformation.name:
        raise InputError("--check", f"{name} has no check", f"give it with {MutualInformation.name} alone")
    say(check_heads())
    checked = check(say)
    error = largest_error(checked, "MINE")
    say(f"largest relative error of MINE up to 2 nats: {'failed' if error is None else f'{error:.3f}'}")
    return as_object(checked)
