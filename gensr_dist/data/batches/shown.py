"""What a batch shows, before its items are numbered: arrays over the catalogue.

Dimensions as in `batch.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


@dataclass(frozen=True)
class ShownMoments:
    """What a batch with context shows besides. Padded places hold -1, or 0 where 0 pads."""

    query_GL: Int  # rows of the queries
    time_GL: Int  # milliseconds, 0 is padding
    now_G: Int  # milliseconds


@dataclass(frozen=True)
class ShownGroups:
    """What a batch shows, items as rows of the catalogue. Padded groups and places hold -1, or 0 where 0 pads."""

    row_G: Int
    user_G: Int
    task_G: Int
    query_GQ: Int  # token ids, 0 is padding
    history_GL: Int
    behaviour_GL: Int  # 0 is padding
    candidate_GC: Int
    query_evidence_GCF: NDArray[np.float32]  # as of the batch
    history_evidence_GCF: NDArray[np.float32]  # as of the batch
    fold_G: Int | None = None  # whose vectors are read; None: the whole graph's
    moments: ShownMoments | None = None  # None: a batch without context
