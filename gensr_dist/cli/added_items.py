"""`gensr index --add`: the index stage where it is due, then items that came after training."""

from pathlib import Path
from typing import TYPE_CHECKING

from gensr_dist.config.root import Config, load_config
from gensr_dist.errors import printable
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import check_consistent, locked
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import Say, run_stage

if TYPE_CHECKING:
    from gensr_dist.retrieval.added.adding import AddedItems


def add_to_config(config: Config, file: Path, say: Say) -> "AddedItems":
    """Index the run of a config unless that is done, then add the items of a file.

    Raises:
        InputError: a stage before the index has not run, or as `add_items`.
    """
    run_stage(BY_NAME["index"], config, say)
    return _add(RunFolder.of(config), config, file, say)


def add_to_run(run: RunFolder, file: Path, say: Say) -> "AddedItems":
    """Add the items of a file to a finished run folder, wherever it lies now.

    Raises:
        InputError: the run has no index, or as `add_items`.
    """
    check_consistent("index", run)
    config = load_config(run.config, done=True)
    return _add(RunFolder.of(config, run.root), config, file, say)


def _add(run: RunFolder, config: Config, file: Path, say: Say) -> "AddedItems":
    from gensr_dist.retrieval.added.adding import add_items

    with locked(run):
        result = add_items(run, config, file)
    say(f"items of {file}: done in {result.seconds:.1f} s")
    for line in result.lines():
        say(printable(f"  {line}"))
    return result
