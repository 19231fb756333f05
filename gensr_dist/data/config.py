"""Settings of data preparation and batching."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import Self

from gensr_dist.config.marks import Mark, marked
from gensr_dist.errors import InputError

Source = Literal["simulate", "kuaisar", "amazon", "tables"]
SplitMethod = Literal["days", "leave_one_out", "time"]

PROMPT_TOKENS = 5  # of a candidate, about: with it a training row's tokens are counted before there is a prompt


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """Size and habits of the simulated KuaiSAR-format log. `gensr_dist.data.presets` holds full-size ones."""

    users: Annotated[int, Field(ge=2)] = 600
    """Number of users."""
    items: Annotated[int, Field(ge=20)] = 1_200
    """Number of items."""
    days: Annotated[int, Field(ge=3)] = 12
    """Length of the log in days."""
    events_per_user: Annotated[float, Field(gt=0)] = 60.0
    """Mean number of items shown to a user, if half of the sessions are searches."""
    search_share: Annotated[float, Field(gt=0, lt=1)] = 2 / 3
    """Mean share of a user's sessions that are searches, which show fewer items."""
    activity_shape: Annotated[float, Field(gt=0)] = 4.0
    """Shape of the gamma distribution of sessions per user: below 1, many users have hardly any."""
    items_per_topic: Annotated[int, Field(ge=1)] = 33
    """Items per topic as long as fewer than all 240 leaf topics are used."""
    popularity_spread: Annotated[float, Field(ge=0)] = 0.7
    """Standard deviation of the logarithm of an item's popularity, but for the items of `hit_share`."""
    hit_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of items, the hits, whose popularity follows Pareto's law instead."""
    own_word_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of queries that have one more word, drawn by Zipf's law."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """From raw logs to shards."""

    source: Source = "simulate"
    """Format of the raw log; `gensr prepare` takes it from its command line."""
    raw: Annotated[str, Mark.PLACE] = ""
    """Folder of the raw log; the simulator writes its own below the run folder."""
    split: SplitMethod = "days"
    """Events that are held out. `days`: the last day for test, the one before for validation. `leave_one_out`: the last
    positive of each user and task for test, the one before for validation. `time`: the newest positive events."""
    valid_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Split `time`: share of positive events for validation, the newest but for those of test."""
    test_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Split `time`: share of positive events for test, the newest."""
    min_interactions: Annotated[int, Field(ge=1)] = 5
    """Users and items with fewer positives are dropped."""
    both_behaviours: bool = True
    """Keep only users who both searched and were recommended to."""
    tokenizer: str = "corpus"
    """`corpus`: trained on the log's item texts and queries; else the name of one on the Hugging Face Hub, or a
    folder; it must split at white space first, as T5's."""
    vocabulary: Annotated[int, Field(ge=300, le=1_000_000)] = 4_000
    """Number of tokens of a `corpus` tokenizer."""
    title_tokens: Annotated[int, Field(ge=1, le=512)] = 16
    """Tokens of an item's text that are kept."""
    query_tokens: Annotated[int, Field(ge=1, le=512)] = 12
    """Tokens of a query that are kept."""
    eval_negatives: Annotated[int, Field(ge=1, le=100_000)] = 99
    """Negatives that each validation and test row is ranked against; drawn once, the same for all systems."""
    users_per_sample: Annotated[int, Field(ge=1)] = 256
    """Users in one sample of a tar file."""
    samples_per_shard: Annotated[int, Field(ge=1)] = 8
    """Samples in one tar file, a shard."""
    shards: Annotated[str, Mark.PLACE] = ""
    """Folder or fsspec URL of the shards; below the run folder if empty."""
    cache: Annotated[str, Mark.PLACE] = ""
    """Folder for copies of remote files; the user's cache folder if empty."""
    cache_gb: Annotated[float, Field(gt=0), Mark.PLACE] = 50.0
    """Size limit of that cache; least recently used copies are deleted first."""
    on_corrupt: Annotated[Literal["stop", "skip"], Mark.PLACE] = "stop"
    """What a damaged shard does. `stop`: ends the command; `skip`: training leaves it out and says what was lost."""
    shuffle_shards: Annotated[int, Field(ge=1), Mark.BATCHING] = 64
    """Consecutive shards whose rows are shuffled together; so many are in memory at a time."""
    history: Annotated[int, Field(ge=1, le=10_000), Mark.BATCHING] = 20
    """Interactions before a row that the model reads, the newest ones."""
    train_negatives: Annotated[int, Field(ge=1, le=10_000), Mark.BATCHING] = 4
    """Negatives of a training row, drawn again every epoch."""
    negatives: Annotated[Literal["uniform", "popularity"], Mark.BATCHING] = "uniform"
    """Distribution of training negatives. `uniform`: every item alike; `popularity`: see `popularity_power`."""
    popularity_power: Annotated[float, Field(ge=0, le=1), Mark.BATCHING] = 0.75
    """For `popularity`: an item is drawn in proportion to its positive training events to this power."""
    hard_negatives: Annotated[int, Field(ge=0), Mark.BATCHING] = 0
    """How many of `train_negatives` are items that were shown and not clicked in the same session, if any."""
    query_negatives: Annotated[int, Field(ge=0), Mark.BATCHING] = 0
    """How many of a search's `train_negatives` are items that fit its query, if any."""

    @property
    def longest_row(self) -> int:
        """Tokens that a training row can have, as `train.micro_tokens` counts them."""
        return self.history * self.title_tokens + PROMPT_TOKENS * (1 + self.train_negatives)

    def as_prepared(self) -> Self:
        """The settings that shape shards; the others, and the place of the raw log, at their defaults."""
        read = marked(type(self), Mark.PLACE) | marked(type(self), Mark.BATCHING)
        return replace(self, **{name: getattr(type(self), name) for name in read})


def check_negatives(config: DataConfig) -> None:
    """Refuse more hard negatives than a training row has negatives.

    Raises:
        InputError: `hard_negatives` and `query_negatives` together are more than `train_negatives`.
    """
    hard = config.hard_negatives + config.query_negatives
    if hard > config.train_negatives:
        raise InputError(
            "data.hard_negatives" if config.hard_negatives else "data.query_negatives",
            f"{hard} hard negatives of {config.train_negatives} negatives a row",
            "lower it or raise data.train_negatives",
        )
