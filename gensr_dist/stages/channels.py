"""`gensr channels`: lists that need no model."""

from pathlib import Path

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Stage


class Channels(Stage):
    """Counts what goes together in the training events."""

    name = "channels"
    summary = "count what goes together: the lists that channels of candidates read"
    help = "Items met by the same users, alike texts, what searches found. Training reads negatives and evidence there."
    form = 4  # evidence of histories
    sections = ()

    def needs(self, config: Config) -> tuple[str, ...]:
        """The shards."""
        return ("prepare",)

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """The lists."""
        return (run.channels,)

    def do(self, job: Job) -> Outcome:
        """See `retrieval.channels.stage`."""
        from gensr_dist.data.items import ItemStore
        from gensr_dist.data.shards.store import TimelineStore
        from gensr_dist.retrieval.channels.stage import build_channels

        run, data = job.run, job.config.data
        store = TimelineStore.open(run.shards, shuffle_shards=data.shuffle_shards, on_corrupt=data.on_corrupt)
        return Outcome.of(build_channels(store, ItemStore.open(run.shards), run.channels))
