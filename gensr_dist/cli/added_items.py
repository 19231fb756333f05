"""`gensr index --add`: the index stage where it is due, then items that came after training."""

import argparse
from typing import TYPE_CHECKING

from gensr_dist.cli.commands import load
from gensr_dist.errors import InputError, printable
from gensr_dist.interface import Run
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import locked
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import Say, run_stage

if TYPE_CHECKING:
    from gensr_dist.retrieval.added.adding import AddedItems


def add_as_asked(options: argparse.Namespace, say: Say) -> "AddedItems":
    """Add the items of a file to the run of a config, which is indexed first, or to a finished run folder as it is.

    Raises:
        InputError: a stage before the index has not run, the folder has no index, or as `add_items`.
    """
    if options.config is not None and options.config.is_dir():
        if options.set or options.preset:
            option = "--set" if options.set else "--preset"
            raise InputError(option, "a finished run folder has its settings", "give the config in place of the folder")
        finished = Run.open(options.config, many=True)
        run, config = finished.folder, finished.config
    else:
        config = load(options)
        run_stage(BY_NAME["index"], config, say)
        run = RunFolder.of(config)
    from gensr_dist.retrieval.added.adding import add_items

    with locked(run):
        result = add_items(run, config, options.add)
    say(f"items of {options.add}: done in {result.seconds:.1f} s")
    for line in result.lines():
        say(printable(f"  {line}"))
    return result
