"""Exact evidence of a candidate, counted over the log, told to T5 as numbers, one module a kind.

Embeddings say what is alike. Whether a title has the very words of a query, whether those who asked with them took the
item, and how many of those who met an item met the candidate too, are counts, and counts alone recommend and search
well.

Dimensions: X any places, F features, D width of the backbone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import Self

from gensr_dist.data.batches.batch import MET, QUERY_FEATURES, VISITED, WORDED
from gensr_dist.model.config import ModelConfig

HIDDEN = 32


class EvidenceEncoder(nn.Module):
    """Two layers over the features of `data/query_evidence.py` or `data/history_evidence.py`.

    Args:
        visible: of each feature, whether it is looked at.
        width: D.
    """

    def __init__(self, visible: Sequence[bool], width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(len(visible), HIDDEN), nn.GELU(), nn.Linear(HIDDEN, width))
        self.visible_F: Tensor
        self.register_buffer("visible_F", torch.tensor(visible), persistent=False)

    @classmethod
    def of_queries(cls, width: int) -> Self:
        """Over the features of `QueryEvidence`."""
        return cls([True] * QUERY_FEATURES, width)

    @classmethod
    def of_histories(cls, width: int, config: ModelConfig) -> Self:
        """Over those of `HistoryEvidence`: visits are of the CF view, words of the semantic one."""
        return cls([config.cf_view] * VISITED + [config.semantic_view] * WORDED + [True] * MET, width)

    def forward(self, evidence_XF: Tensor) -> Tensor:
        """What a slot of each candidate gets, [X, D]."""
        dtype = next(self.layers.parameters()).dtype
        told_XD: Tensor = self.layers(evidence_XF.to(dtype) * self.visible_F)
        return told_XD
