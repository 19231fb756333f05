"""What earlier stages left for the model to read, opened once: shards, items and CF vectors.

Dimensions: V users, E width of a CF vector.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.config.root import Config
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.evidence import Evidence
from gensr_dist.data.cf_vectors import load_cf
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.model.config import ModelConfig
from gensr_dist.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """What every model reads of a run."""

    store: TimelineStore
    items: ItemStore
    vectors: ItemVectors
    user_VE: NDArray[np.float32]  # CF vectors, mapped

    @classmethod
    def open(cls, run: RunFolder, config: Config, *, folds: bool) -> Self:
        """Open the results of `prepare` and `lightgcn`.

        Args:
            run: folder of the run.
            config: how shards are read.
            folds: also map the vectors of training rows.

        Raises:
            InputError: a result is missing or broken, or they do not fit together.
        """
        data = config.data
        store = TimelineStore.open(run.shards, shuffle_shards=data.shuffle_shards, on_corrupt=data.on_corrupt)
        items = ItemStore.open(run.shards)
        vectors, user_VE = load_cf(run.cf, folds=folds)
        return cls(store=store, items=items, vectors=vectors, user_VE=user_VE)

    def collator(self, run: RunFolder, history: int, model: ModelConfig) -> Collator:
        """Builds the batches of a GenSR.

        Raises:
            InputError: the model wants evidence, and the channels are missing or of another catalogue.
        """
        wanted = {"queries": model.query_evidence, "histories": model.history_evidence}
        evidence = Evidence.open(run.channels, self.store.items, **wanted)
        return Collator(self.store, self.items, self.vectors, history, evidence=evidence)
