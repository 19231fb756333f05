"""What the reference form of GenSR is given: every candidate as a row of its own, with copies of what its group shares.

Dimensions as in `reference.py`; F features of a query and a candidate.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.model.config import PromptConfig
from gensr_dist.model.prompt import SENTINELS, SLOTS

PROMPT = 95  # M, of the authors' code


@dataclass(frozen=True)
class ReferenceRows:
    """A batch, one row a candidate, with copies of all that its group shares."""

    candidates: int
    prompt_BM: Tensor  # int64 token ids; slot s of SLOTS is -1 - s, 0 is padding, at the end
    history_BLT: Tensor  # int64 title tokens, 0 is padding
    history_cf_BLE: Tensor
    history_item_BL: Tensor  # int64 row of the catalogue, -1 for padding
    behaviour_BL: Tensor  # int64, 0 is padding
    query_BQ: Tensor  # int64 tokens of the search, all 0 for a recommendation
    title_BT: Tensor  # int64
    cf_BE: Tensor
    item_B: Tensor  # int64 row of the catalogue, -1 for padding
    user_B: Tensor  # int64
    answer_B: Tensor  # int64 token id, IGNORED for padding
    query_evidence_BF: Tensor
    history_evidence_BF: Tensor


class ReferenceCollator:
    """Writes the prompts out and repeats a group's history for each of its candidates.

    Args:
        prompts: templates.
        tokenizer: of the model.
        width: M, to which prompts are padded.
    """

    def __init__(self, prompts: PromptConfig, tokenizer: TextTokenizer, width: int = PROMPT) -> None:
        def ids(text: str) -> list[int]:
            return tokenizer.encode(text)

        self.width = width
        self.query = tokenizer.vocabulary[SENTINELS["query"]]
        self.slots = {tokenizer.vocabulary[SENTINELS[name]]: -1 - s for s, name in enumerate(SLOTS)}
        self.templates: dict[int, list[int]] = {
            Behaviour.RECOMMENDATION: ids(prompts.recommendation.format(**SENTINELS)),
            Behaviour.SEARCH: ids(prompts.search.format(**SENTINELS)),
        }
        self.answers = torch.tensor([ids("No")[0], ids("Yes")[0]])

    def __call__(self, batch: Batch) -> ReferenceRows:
        """Rows of a batch, those of a group side by side.

        Raises:
            InputError: a prompt is longer than the width.
        """
        C = batch.candidate_GC.shape[1]
        label_B, candidate_B = batch.label_GC.flatten(), batch.candidate_GC.flatten()
        history_BL = batch.history_GL.repeat_interleave(C, dim=0)
        query_GQ = batch.query_GQ.masked_fill((batch.task_G != Behaviour.SEARCH)[:, None], 0)
        prompts = [self._prompt(*asked) for asked in zip(batch.task_G.tolist(), query_GQ.tolist(), strict=True)]
        return ReferenceRows(
            candidates=C,
            prompt_BM=torch.tensor(prompts).repeat_interleave(C, dim=0),
            history_BLT=batch.title_UT[history_BL],
            history_cf_BLE=batch.cf_UE[history_BL],
            history_item_BL=batch.item_U[history_BL],
            behaviour_BL=batch.behaviour_GL.repeat_interleave(C, dim=0),
            query_BQ=query_GQ.repeat_interleave(C, dim=0),
            title_BT=batch.title_UT[candidate_B],
            cf_BE=batch.cf_UE[candidate_B],
            item_B=batch.item_U[candidate_B],
            user_B=batch.user_G.repeat_interleave(C),
            answer_B=torch.where(label_B == IGNORED, IGNORED, self.answers[label_B.clamp_min(0)]),
            query_evidence_BF=batch.query_evidence_GCF.flatten(0, 1),
            history_evidence_BF=batch.history_evidence_GCF.flatten(0, 1),
        )

    def _prompt(self, task: int, query_Q: list[int]) -> list[int]:
        tokens: list[int] = []
        for token in self.templates[task]:
            tokens += [t for t in query_Q if t] if token == self.query else [self.slots.get(token, token)]
        if len(tokens) > self.width:
            raise InputError("model.prompts", f"a prompt of {len(tokens)} tokens, {self.width} fit", "shorten it")
        return tokens + [0] * (self.width - len(tokens))
