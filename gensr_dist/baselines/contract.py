"""What a baseline is: a module that scores candidates of a batch and knows its own loss.

Dimensions: G groups, C candidates, S sequences, L length, D width, I items, V users, T title tokens, E width of a CF
vector, W words.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from gensr_dist.baselines.layers.ranking_losses import binary_cross_entropy, softmax_cross_entropy
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import read_by_length
from gensr_dist.data.batches.sequences import SequenceBatch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.graph.edges import Edges

REC, SEARCH = Behaviour.RECOMMENDATION, Behaviour.SEARCH
ONLY_REC, ONLY_SEARCH, BOTH = frozenset({REC}), frozenset({SEARCH}), frozenset({REC, SEARCH})


class Need(Enum):
    """What a log must hold for a baseline, beside items that users chose."""

    QUERIES = "queries"
    TITLES = "titles"


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """What a model is built from: sizes of the log, and tables of its catalogue."""

    items: int
    users: int
    tokenizer: TextTokenizer
    cf_width: int
    cf_scale: float  # that brings CF vectors to a mean square of one
    popularity_I: NDArray[np.integer]  # positive training events of each item
    title_IT: NDArray[np.int32]  # token ids, 0 is padding
    edges: Callable[[], Edges]  # distinct pairs of training recommendations, found when asked for

    @property
    def words(self) -> int:
        """Size of the tokenizer's vocabulary."""
        return len(self.tokenizer)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that every trained baseline has; each model's own class adds its own and gives what was published."""

    width: Annotated[int, Field(ge=1)] = 64
    """Width D of item vectors and states."""
    item_input: Literal["id", "cf", "id+cf"] = "id"
    """What an item is to the model: a learnt vector, LightGCN's, or their sum."""
    history: Annotated[int, Field(ge=1)] = 50
    """Interactions that are read, the newest ones."""
    negatives: Annotated[int, Field(ge=0)] = 1
    """Negatives of a row or position, drawn uniformly among what its user has not met."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout rate."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of the optimizer."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the optimizer."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the learning rate rises from 0; then it stays."""
    clip: Annotated[float, Field(gt=0)] = 5.0
    """Norm that a larger gradient is scaled down to."""
    batch: Annotated[int, Field(ge=1)] = 256
    """Rows or sequences of a step, over all ranks."""
    epochs: Annotated[int, Field(ge=1)] = 200
    """Most epochs."""
    validate_every: Annotated[float, Field(gt=0)] = 1.0
    """Epochs between validations."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Validations without a better mean NDCG@10 after which training stops."""


@dataclass(frozen=True)
class Losses:
    """What a step minimises: the sum of named parts, each a mean over the groups or targets of the whole step."""

    parts: Mapping[str, Tensor]

    @property
    def total(self) -> Tensor:
        """Their sum."""
        first, *others = self.parts.values()
        return sum(others, first)


class Baseline(nn.Module, ABC):
    """A model of one or both tasks.

    A row's scores depend on no other row of the batch, on no padding and on the order of candidates in nothing but
    their own order.
    """

    tasks: ClassVar[frozenset[Behaviour]]
    needs: ClassVar[frozenset[Need]] = frozenset()
    candidates_a_pass: ClassVar[int] = 200_000  # of scoring; fewer where a candidate costs much memory
    coupled_decay: ClassVar[bool] = False  # weight decay is in the gradient, as in the authors' Adam, not AdamW's

    by_length: ClassVar[bool] = True  # whether a row costs what its history is padded to

    @abstractmethod
    def score(self, batch: ContextBatch) -> Tensor:
        """Scores [G, C], higher is better: logits, never probabilities, which saturate and tie."""

    def scores(self, batch: ContextBatch) -> Tensor:
        """`score`, rows with histories of like length together."""
        if not self.by_length:
            return self.score(batch)
        (score_GC,) = read_by_length(lambda part: (self.score(part),), batch)
        return score_GC


class RowBaseline(Baseline):
    """A baseline that is trained on rows: a positive and its negatives, after the history that came before."""

    row_loss: ClassVar[Literal["bce", "softmax"]] = "bce"  # the published one

    def auxiliary(self, batch: ContextBatch, score_GC: Tensor) -> Mapping[str, Tensor]:
        """Further parts of the loss, weighted, as sums over the groups of the batch."""
        return {}

    def ranking(self, batch: ContextBatch, score_GC: Tensor) -> Tensor:
        """Ranking loss of each row [G]; 0 of padding."""
        loss = binary_cross_entropy if self.row_loss == "bce" else softmax_cross_entropy
        loss_G = loss(score_GC[:, 0], score_GC[:, 1:], batch.candidate_GC[:, 1:] > 0)
        return loss_G * (batch.row_G >= 0)

    def forward(self, batch: ContextBatch) -> Losses:
        """Losses of a batch."""
        score_GC = self.scores(batch)
        parts = {"ranking": self.ranking(batch, score_GC).sum(), **self.auxiliary(batch, score_GC)}
        return Losses({name: part / batch.step_groups for name, part in parts.items()})


class SequenceBaseline(Baseline):
    """A baseline that reads a sequence from left to right and predicts at every position what is recommended next."""

    tasks: ClassVar[frozenset[Behaviour]] = ONLY_REC

    @property
    @abstractmethod
    def shared_negatives(self) -> int:
        """Items that all positions of a step share as negatives."""

    @abstractmethod
    def forward(self, batch: SequenceBatch) -> Losses:
        """Losses of a batch."""
