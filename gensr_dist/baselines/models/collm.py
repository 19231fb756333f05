"""CoLLM (Zhang et al. 2023, arXiv 2310.19488): a language model that reads titles and, in slots, collaborative vectors.

The prompt is titles of the history, a user slot, the candidate's title and an item slot; a slot is

    MLP(c) = W_2 relu(W_1 c + b_1) + b_2,  width of c -> 10 times as wide -> width of the language model,

of a vector c that collaborative filtering learnt. A candidate's score is log P(Yes) - log P(No) of the answer's first
token; binary cross entropy of it with one negative, which is the paper's likelihood of the two answers.

Deviations: T5 with random weights, unless `backbone` names a pretrained one, instead of a 7B decoder; all is trained at
once instead of the text first (by LoRA) and the mapping then, with everything else frozen; the rate stays after the
warm-up instead of falling by a cosine; positives are chosen items and negatives drawn ones instead of ratings above and
below a threshold. Titles are kept apart by the end token, and no sentence stands around them. Item vectors are those of
LightGCN, as GenSR's. The user's is the mean of those of the history that the prompt shows, from the graph without the
row's fold: a vector that was learnt for the user would know the edge to the training target.

Not copied from the public code: its loss is of the logit of Yes alone, which has another optimum than the likelihood.

Chosen: candidates of a row follow one encoded prefix (titles, user slot), which does not see them; each sees it and
itself, and the decoder attends to both. Under this mask a candidate scores exactly what it scores alone, as under the
causal mask of the paper's language model, and a row costs one prefix instead of one for each of 100 candidates.

Dimensions: G groups, C candidates, L history, T title tokens, U items of the batch, S places of the prefix, P = T + 1
places of a candidate, E width of a CF vector, D width of T5, X items of the batch or places of slots.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.t5_reader import T5Reader, gathered, in_parts
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.model.pooling import masked_mean

_INNER = 10  # times the width of a CF vector


@dataclass(frozen=True, kw_only=True)
class CoLLMSettings(Settings):
    """As published, but for the batch, which was what a GPU held of a 7B model (16); its dropout (.05) is LoRA's."""

    item_input: Literal["cf"] = "cf"
    history: int = 10
    weight_decay: float = 1e-3
    warmup_steps: int = 200
    batch: int = 64
    epochs: int = 30
    backbone: str = "nano"
    """Size of T5: `nano`, `mini`, `small`, `base` with random weights; else a Hub name or a folder. `width` is not
    read."""
    collaborative: bool = True
    """Off: slots are zero, and the model reads texts alone."""


class CoLLM(RowBaseline):
    """Yes or no, after titles and collaborative vectors."""

    tasks = ONLY_REC
    needs = frozenset({Need.TITLES})
    candidates_a_pass = 1_000

    def __init__(self, settings: CoLLMSettings, facts: LogFacts) -> None:
        super().__init__()
        self.cf_scale = facts.cf_scale
        self.t5 = T5Reader(settings.backbone, facts.words, settings.dropout, scoring="shared")
        self.user_slot = _mapping(facts.cf_width, self.t5.width) if settings.collaborative else None
        self.item_slot = _mapping(facts.cf_width, self.t5.width) if settings.collaborative else None
        self.no_yes_2: Tensor
        self.register_buffer("no_yes_2", torch.tensor(facts.tokenizer.answers()), persistent=False)

    def score(self, batch: ContextBatch) -> Tensor:
        """Log-odds of Yes, [G, C]."""
        cf_UE = batch.cf_UE * self.cf_scale
        prefix_GSD, mask_GS = self.prefix(batch, cf_UE)
        block_UPD, mask_UP = self.blocks(batch, cf_UE)

        def of_some(candidate_GC: Tensor) -> Tensor:
            block_GCPD, mask_GCP = block_UPD[candidate_GC], mask_UP[candidate_GC]
            return self.t5.answers(prefix_GSD, mask_GS, block_GCPD, mask_GCP, self.no_yes_2).diff(dim=2).squeeze(2)

        return in_parts(of_some, batch.candidate_GC, self.candidates_a_pass)

    def prefix(self, batch: ContextBatch, cf_UE: Tensor) -> tuple[Tensor, Tensor]:
        """What all candidates of a row follow, padded on the left [G, S, D], and True at its places [G, S]."""
        ended_UX = F.pad(batch.title_UT, (0, 1))
        ended_UX[1:, -1] = self.t5.end
        token_GS = gathered(ended_UX[batch.history_GL].flatten(1), left=True)
        user_GE = masked_mean(cf_UE[batch.history_GL], batch.history_GL > 0)
        prefix_GSD = torch.cat([self.t5.embed(token_GS), self._slot(self.user_slot, user_GE)[:, None]], dim=1)
        return prefix_GSD, F.pad(token_GS != 0, (0, 1), value=True)

    def blocks(self, batch: ContextBatch, cf_UE: Tensor) -> tuple[Tensor, Tensor]:
        """Title and slot of each item, padded on the right [U, P, D], and True at their places [U, P]."""
        length_U1 = (batch.title_UT != 0).sum(1, keepdim=True)
        token_UP = F.pad(batch.title_UT, (0, 1))[:, : int(length_U1.max()) + 1]
        place_P = torch.arange(token_UP.shape[1], device=token_UP.device)
        slot_UD = self._slot(self.item_slot, cf_UE)
        block_UPD = torch.where((place_P == length_U1)[..., None], slot_UD[:, None], self.t5.embed(token_UP))
        return block_UPD, place_P <= length_U1

    def _slot(self, mapping: nn.Module | None, cf_XE: Tensor) -> Tensor:
        return cf_XE.new_zeros(len(cf_XE), self.t5.width) if mapping is None else mapping(cf_XE)


def _mapping(cf_width: int, width: int) -> nn.Module:
    inner = _INNER * cf_width
    return nn.Sequential(nn.Linear(cf_width, inner), nn.ReLU(), nn.Linear(inner, width))
