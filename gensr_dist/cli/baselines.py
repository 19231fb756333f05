"""`gensr baseline`: train a model that GenSR is compared with, or list them."""

import argparse
from dataclasses import dataclass
from typing import Any

from gensr_dist.cli.commands import Commands, add_config, load
from gensr_dist.errors import InputError
from gensr_dist.stages.runner import Say, rank_of_launcher, run_stage


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of `gensr baseline --list`."""

    name: str
    title: str
    tasks: tuple[str, ...]
    paper: str
    needs: tuple[str, ...]


def add_baselines(commands: Commands) -> None:
    """Add the command."""
    added = commands.add(
        "baseline",
        _baseline,
        "train one of the models that GenSR is compared with, and evaluate it on the same rows",
        "Shards and CF vectors of the config's run must be there; results go to RUN/baselines/NAME. Settings are the\n"
        "published ones; --set NAME.KEY=VALUE replaces one. An interrupted training is resumed.",
        "gensr baseline sasrec configs/amazon_beauty.yaml --set data.raw=/data/amazon_beauty --set sasrec.loss=ce",
    )
    added.add_argument("baseline", metavar="NAME", nargs="?", help="a name that `gensr baseline --list` shows")
    added.add_argument("--list", action="store_true", help="show all baselines and end")
    added.add_argument("--resume", choices=("auto", "never"), default="auto", help="see `gensr train --help`")
    add_config(added)


def _baseline(options: argparse.Namespace, say: Say) -> Any:
    if options.list:
        return _list(say)
    if options.baseline is None:
        raise InputError("NAME", "no baseline is given", "`gensr baseline --list` shows them")
    from gensr_dist.baselines.settings import read_settings
    from gensr_dist.stages.baseline import TrainedBaseline

    own = [text for text in options.set if text.startswith(f"{options.baseline}.")]
    settings = read_settings(options.baseline, own)
    options.set = [text for text in options.set if text not in own]
    first = rank_of_launcher() == 0
    stage = TrainedBaseline(options.baseline, settings)
    result = run_stage(stage, load(options), say if first else lambda line: None, resume=options.resume)
    return result if first else None


def _list(say: Say) -> Any:
    from gensr_dist.baselines.registry import BASELINES
    from gensr_dist.evaluation.metrics import TASK_NAMES

    listed = [
        Listed(
            name=name,
            title=entry.title,
            tasks=tuple(TASK_NAMES[task] for task in sorted(entry.model.tasks)),
            paper=entry.paper,
            needs=tuple(sorted(need.value for need in entry.model.needs)),
        )
        for name, entry in BASELINES.items()
    ]
    for line in listed:
        needs = f"; needs {', '.join(line.needs)}" if line.needs else ""
        say(f"{line.name:<14} {line.title:<21} {' and '.join(line.tasks):<15} {line.paper}{needs}")
    return {"baselines": listed}
