"""What the model sees in one pass.

Dimensions: G groups (one positive and its negatives share user, history and query), C candidates a group, L history,
Q query tokens, U distinct items of the batch (slot 0 is padding), T title tokens an item, E width of a CF vector, F
features of a query or a history and a candidate.
"""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import Self

from gensr_dist.data.tensors import map_tensors

IGNORED = -100  # label of a padded candidate
QUERY_FEATURES = 4  # F, see `QueryEvidence.features`
VISITED, WORDED, MET = (3, 3, 1)  # features of each kind, in the order of `HistoryEvidence.features`
HISTORY_FEATURES = VISITED + WORDED + MET  # F of these


@dataclass(frozen=True)
class Batch:
    """A batch of groups over a table of its distinct items, so that each item is looked up and pooled once."""

    row_G: Tensor  # int64, training or evaluation row; -1 for a padded group
    user_G: Tensor  # int64
    task_G: Tensor  # int64, Behaviour
    query_GQ: Tensor  # int64 token ids, 0 is padding; all 0 for recommendation
    history_GL: Tensor  # int64 slots of the item table, oldest first, padded at the end with 0
    behaviour_GL: Tensor  # int64: 0 padding, 1 recommendation, 2 search, 3 both (twin events of one interaction)
    candidate_GC: Tensor  # int64 slots of the item table, padded with 0
    label_GC: Tensor  # int64: 1 Yes, 0 No, IGNORED padding
    item_U: Tensor  # int64 rows of the catalogue; -1 in slot 0
    cf_UE: Tensor  # float32; zeros in slot 0
    title_UT: Tensor  # int64 token ids, 0 is padding
    log_chance_GC: Tensor  # float32: log of how much likelier a negative is drawn than by uniform draws; inf: not so
    query_evidence_GCF: Tensor  # float32, `QueryEvidence.features`; zeros where nothing is searched for
    history_evidence_GCF: Tensor  # float32, `HistoryEvidence.features`
    step_groups: int  # unpadded groups of the whole optimizer step, over all ranks and micro-batches

    def pin_memory(self) -> Self:
        """Page-locked copy, for asynchronous transfer to a GPU."""
        return map_tensors(self, Tensor.pin_memory)


@dataclass(frozen=True)
class ContextBatch(Batch):
    """A batch with what the moments of its histories held besides items; GenSR does not need it.

    K distinct queries of the batch's histories (row 0 is none).
    """

    query_KQ: Tensor  # int64 token ids, 0 is padding
    history_query_GL: Tensor  # int64 rows of query_KQ: what was asked when the item was found; 0 for none
    time_GL: Tensor  # int64 milliseconds; 0 is padding
    now_G: Tensor  # int64 milliseconds: of the row itself
