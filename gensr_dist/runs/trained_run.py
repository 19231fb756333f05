"""A run whose model is trained, opened once for evaluation and answers.

Dimensions: I items, V users, E width of a CF vector.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.config.root import Config
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.kernels.dispatch import check_compiler, check_path
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.precision import with_weights_in
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """What a run learnt and what it learnt it from."""

    folder: RunFolder
    store: TimelineStore
    items: ItemStore
    item_IE: NDArray[np.float32]  # CF vectors, mapped
    user_VE: NDArray[np.float32]
    collator: Collator
    model: GenSR  # in evaluation mode, on `device`
    device: torch.device
    notes: tuple[str, ...] = ()  # what whoever reads its answers should know

    @classmethod
    def open(cls, folder: RunFolder, config: Config) -> Self:
        """Open shards, CF vectors and model.

        Args:
            folder: of the run.
            config: how its shards are read and its operations computed. On a GPU the weights have the precision of
                the training; on a CPU fp32, which is faster there.

        Raises:
            InputError: a stage's result is missing or broken, they do not fit together, or the configured kernels
                cannot run here.
        """
        check_path(config.kernels)
        data = PreparedData.open(folder, config, folds=False)
        model = GenSR.from_pretrained(folder.model, reads=data.items.tokenizer, cf_width=data.vectors.width)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if config.train.precision == "bf16" and device.type == "cuda" else torch.float32
        return cls(
            folder=folder,
            store=data.store,
            items=data.items,
            item_IE=data.vectors.whole_IE,
            user_VE=data.user_VE,
            collator=data.collator(folder, config.data.history, model.shape.model),
            model=with_weights_in(model, dtype).to(device).use_kernels(config.kernels),
            device=device,
        )

    @property
    def data(self) -> PreparedData:
        """What models without T5 read of it."""
        return PreparedData(store=self.store, items=self.items, vectors=self.collator.vectors, user_VE=self.user_VE)

    def compile(self) -> None:
        """See `Backbone.compile_blocks`.

        Raises:
            InputError: this machine has no compiler.
        """
        check_compiler("evaluation.compile")
        self.model.backbone.compile_blocks()
