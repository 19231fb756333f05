"""`gensr simulate`, `prepare`, `lightgcn`, ... one command a stage, and `gensr run` for all of them."""

import argparse
import os
import shlex
from typing import Any, get_args

from gensr_dist.cli.arguments import integer, local_path
from gensr_dist.cli.commands import Commands, add_config, add_ray, check_ray, load
from gensr_dist.data.config import Source
from gensr_dist.interface import Run
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.order import BY_NAME, STAGES
from gensr_dist.stages.runner import LOCAL, Say, rank_of_launcher, run_all, run_stage
from gensr_dist.stages.stage import PrepareWorkers


def add_stages(commands: Commands) -> None:
    """Add a command for each stage, and that of all."""
    for stage in STAGES:
        source = "simulate " if stage.name == "prepare" else ""
        more = f"{stage.help}\nIt does nothing if its settings and inputs are those of its last finished run."
        example = f"gensr {stage.name} {source}configs/quickstart.yaml"
        added = commands.add(stage.name, _stage, stage.summary, more, example)
        if stage.name == "prepare":
            added.add_argument("source", metavar="SOURCE", choices=get_args(Source))
            add_ray(added)
            added.add_argument(
                "--workers",
                metavar="N",
                type=integer(1, 100_000),
                default=os.cpu_count(),
                help="processes of the local engine",
            )
        if stage.name == "index":
            added.add_argument(
                "--add",
                metavar="ITEMS",
                type=local_path,
                help="then add items that came after training: CSV or Parquet with item_id and text; CONFIG may be a "
                "run folder; the next `gensr index` discards them",
            )
        if stage.on_ranks:
            added.add_argument(
                "--resume",
                choices=("auto", "never"),
                default="auto",
                help="auto (the default): go on from the newest checkpoint, if there is one; never: delete this "
                "stage's checkpoints and start again, except where a launcher restarts it after a failure",
            )
        add_config(added)
    add_config(
        commands.add(
            "run",
            _all,
            "run every stage of a config, then show results and examples",
            "Stages whose settings and inputs are unchanged are skipped; an interrupted training is resumed.",
            "gensr run configs/amazon_beauty.yaml --set data.raw=/data/amazon_beauty --set train.steps=5000",
        )
    )


def _stage(options: argparse.Namespace, say: Say) -> Any:
    if getattr(options, "add", None):
        from gensr_dist.cli.added_items import add_as_asked

        return add_as_asked(options, say)
    workers, source = LOCAL, []
    if options.name == "prepare":
        check_ray(options)
        workers = PrepareWorkers(engine=options.engine, address=options.address, processes=options.workers)
        source = [f"data.source={options.source}"]
    first = rank_of_launcher() == 0
    result = run_stage(
        BY_NAME[options.name],
        load(options, source),
        say if first else lambda line: None,
        workers,
        getattr(options, "resume", "auto"),
    )
    return result if first else None


def _all(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.cli.answers import show_examples

    config = load(options)
    run = RunFolder.of(config)
    result = run_all(config, say)
    show_examples(Run.open(run.root), say)
    say(f"watch the training:  tensorboard --logdir {shlex.quote(str(run.tensorboard))}")
    say(f"the whole report:    {run.report}")
    return result
