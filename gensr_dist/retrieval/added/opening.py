"""Opening a run for answers: with the items that were added to it, where they belong to its present index."""

import dataclasses
from dataclasses import dataclass

from gensr_dist.config.root import Config
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.errors import InputError
from gensr_dist.retrieval.added.folder import AddedFolder, Origin
from gensr_dist.retrieval.added.text_lists import TextLists
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun


@dataclass(frozen=True, kw_only=True)
class RunWithAddedItems(TrainedRun):
    """A run whose `items`, `item_IE` and `collator` know the added items too; `store` and the events are the log's."""

    added: AddedFolder


def open_with_added(run: RunFolder, config: Config) -> TrainedRun:
    """Open a trained and indexed run. Added items that are broken or of another index are left out, and a note says so.

    Raises:
        InputError: as `TrainedRun.open`, or the run has no index.
    """
    trained = TrainedRun.open(run, config)
    if not run.added.exists():
        return trained
    try:
        return with_added(trained, AddedFolder.open(run.added, Origin.of(run, trained.store.manifest)))
    except InputError as fault:
        return dataclasses.replace(trained, notes=(f"added items are ignored: {fault}",))


def open_for_scorer(run: RunFolder, config: Config, scorer: str | None) -> TrainedRun:
    """Open a run for answers that GenSR orders, or a trained baseline, which knows the items of its training alone.

    Raises:
        InputError: as `open_with_added`; there is no such baseline, or it is not trained in this run.
    """
    if scorer is None:
        return open_with_added(run, config)
    from gensr_dist.baselines.weights import settings_of  # which imports all of them

    settings_of(scorer, run)  # before what takes long
    trained = TrainedRun.open(run, config)
    if not run.added.exists():
        return trained
    note = f"items that were added after training are left out: {scorer} has no vectors of them"
    return dataclasses.replace(trained, notes=(note,))


def with_added(trained: TrainedRun, added: AddedFolder) -> RunWithAddedItems:
    """The same run with added items."""
    items, item_IE = added.store(trained.items), added.vectors()
    values = {field.name: getattr(trained, field.name) for field in dataclasses.fields(TrainedRun)}
    known = trained.collator
    evidence = known.evidence.with_items(added.table["text"], TextLists.open(added.lists, len(item_IE)).text_II)
    collator = Collator(trained.store, items, ItemVectors(item_IE), known.history, evidence=evidence)
    return RunWithAddedItems(**{**values, "items": items, "item_IE": item_IE, "collator": collator, "added": added})
