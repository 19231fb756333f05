"""What the model is given: a batch with its prompts put together and its padding found, made on the host.

Dimensions: G groups, C candidates, L history, T title tokens, U distinct items of the batch, W distinct tokens of the
batch, R distinct requests, S context tokens, Z groups that search, A distinct tokens of their queries, Q query tokens,
P block tokens, N places of the longest history (items, or title tokens), B some of the histories, K entries of all
histories, X any places, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tensors import map_tensors, renumbered
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.packing import Packing
from gensr_dist.model.prompt import TEXT_SLOT, PromptAssembler
from gensr_dist.model.prompt_layout import PromptLayout

_SHORT = 16  # entries to which padding costs next to nothing


@dataclass(frozen=True)
class LengthBucket:
    """Histories of similar length, padded to the longest of them."""

    packing: Packing
    mask_BN: Tensor  # bool, True at entries, which come first

    @classmethod
    def of(cls, length_B: Tensor) -> Self:
        """Of histories with so many entries."""
        mask_BN = torch.arange(max(1, int(length_B.max()))) < length_B[:, None]
        return cls(Packing.of(mask_BN), mask_BN)


@dataclass(frozen=True)
class History:
    """Histories of a batch in one view, one after the other without padding, oldest entry first.

    They come in the order of `buckets`: attention, which pads, looks at histories of similar length together. A history
    of at most half, a quarter or an eighth of the longest's entries is padded to no more than that.
    """

    entry_K: Tensor  # int64: slot of the item table, or number of a title's token in `ModelInput.token_W`
    recency_K: Tensor  # int64, interactions between the entry's and the newest (0 for the newest)
    behaviour_K: Tensor  # int64, as `Batch.behaviour_GL`
    buckets: tuple[LengthBucket, ...]
    packing: Packing  # of [G, N], in the order of the batch
    mask_GN: Tensor  # bool, True at entries, which come first

    @classmethod
    def of(cls, entry_GX: Tensor, recency_GX: Tensor, behaviour_GX: Tensor) -> Self:
        """The entries that are not 0, wherever they lie."""
        kept_GX = entry_GX != 0
        length_G = kept_GX.sum(1)
        whole = LengthBucket.of(length_G)
        G, N = whole.mask_BN.shape
        halved_G = torch.zeros_like(length_G)
        for k in (1, 2, 3):
            if N >> k >= _SHORT:
                halved_G += length_G <= N >> k
        if not halved_G.any():
            kept = (entry_GX[kept_GX], recency_GX[kept_GX], behaviour_GX[kept_GX])
            return cls(*kept, (whole,), whole.packing, whole.mask_BN)
        order_G = halved_G.argsort(stable=True)
        kept_GX = kept_GX[order_G]
        entry_K, recency_K, behaviour_K = (x_GX[order_G][kept_GX] for x_GX in (entry_GX, recency_GX, behaviour_GX))
        buckets = tuple(LengthBucket.of(length_G[halved_G == k]) for k in halved_G.unique())
        place_GN = order_G[:, None] * N + torch.arange(N)
        packing = Packing(place_GN[whole.mask_BN[order_G]], G, N)
        return cls(entry_K, recency_K, behaviour_K, buckets, packing, whole.mask_BN)


@dataclass(frozen=True)
class ModelInput:
    """A batch for `GenSR`. Its texts are numbered by a vocabulary of its own: the token table is read once a token."""

    batch: Batch
    token_W: Tensor  # int64, distinct token ids, ascending; token_W[0] is 0, the padding
    title_UT: Tensor  # int64 in [0, W), as all tokens below; 0 is padding
    cf_history: History
    semantic_history: History
    searching_Z: Tensor  # int64, groups whose query has a token
    term_A: Tensor  # int64 in [0, W), ascending; term_A[0] is 0, the padding
    query_ZQ: Tensor  # int64 in [0, A), 0 is padding
    context_RS: Tensor
    block_GP: Tensor
    block_slot_GP: Tensor  # int64 index in SLOTS, TEXT_SLOT elsewhere
    layout: PromptLayout
    start: int  # number of the decoder's start token

    def to(self, device: torch.device | str) -> Self:
        """Copy every tensor to `device`; the host does not wait for a GPU to have them."""
        if torch.device(device).type == "cpu":
            return self
        return map_tensors(self, lambda tensor: tensor.pin_memory().to(device, non_blocking=True))


def shares_contexts(config: ModelConfig, *, training: bool) -> bool:
    """Whether groups of equal texts have one context: they would also share what dropout leaves of it."""
    return not (training and config.dropout)


class InputBuilder:
    """Makes inputs of batches, on the host.

    Args:
        config: of the model.
        prompts: puts the prompts' tokens together.
        vocabulary: rows V of the token table.
        start: the decoder's start token.
    """

    def __init__(self, config: ModelConfig, prompts: PromptAssembler, *, vocabulary: int, start: int) -> None:
        self.config = config
        self.prompts = prompts
        self.vocabulary = vocabulary
        self.start = start
        self.slot_visible = torch.tensor([config.cf_view, config.semantic_view] * 2)  # in the order of prompt.SLOTS

    def __call__(self, batch: Batch, *, training: bool = False) -> ModelInput:
        """The input of a batch.

        Args:
            batch: on the host.
            training: whether dropout will be at work.
        """
        share = shares_contexts(self.config, training=training)
        prompts = self.prompts(batch.task_G, batch.query_GQ, share_contexts=share)
        number_V, token_W = self._numbered(batch.title_UT, prompts.context_RS, prompts.block_GP)
        asked_GQ = batch.query_GQ.masked_fill((batch.task_G != Behaviour.SEARCH)[:, None], 0)
        searching_Z = asked_GQ.any(1).nonzero().flatten()
        term_A, (query_ZQ,) = renumbered(number_V[asked_GQ[searching_Z]])
        title_UT, context_RS = number_V[batch.title_UT], number_V[prompts.context_RS]

        length_G1 = (batch.history_GL != 0).sum(1, keepdim=True)
        recency_GL = (length_G1 - 1 - torch.arange(batch.history_GL.shape[1])).clamp_min(0)
        cf_history = History.of(batch.history_GL, recency_GL, batch.behaviour_GL)
        if self.config.semantic_history == "tokens":
            title_GLT = title_UT[batch.history_GL]
            T = title_GLT.shape[2]
            semantic_history = History.of(
                title_GLT.flatten(1), recency_GL.repeat_interleave(T, 1), batch.behaviour_GL.repeat_interleave(T, 1)
            )
        else:
            semantic_history = cf_history

        slot_GP = prompts.block_slot_GP
        visible_GP = prompts.block_mask_GP & ((slot_GP == TEXT_SLOT) | self.slot_visible[slot_GP.clamp_min(0)])
        candidate_GC = batch.label_GC != IGNORED
        layout = PromptLayout.of(
            self.config.scoring,
            request_G=prompts.request_G,
            context_mask_RS=context_RS != 0,
            block_mask_GCP=candidate_GC[:, :, None] & visible_GP[:, None, :],
        )
        return ModelInput(
            batch=batch,
            token_W=token_W,
            title_UT=title_UT,
            cf_history=cf_history,
            semantic_history=semantic_history,
            searching_Z=searching_Z,
            term_A=term_A,
            query_ZQ=query_ZQ,
            context_RS=context_RS,
            block_GP=number_V[prompts.block_GP],
            block_slot_GP=slot_GP,
            layout=layout,
            start=int(number_V[self.start]),
        )

    def _numbered(self, *tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Number of each token of the vocabulary among the distinct ones [V], and the distinct ones [W]."""
        seen_V = torch.zeros(self.vocabulary, dtype=torch.bool)
        seen_V[0] = seen_V[self.start] = True
        for each in tokens:
            seen_V[each.flatten()] = True
        return seen_V.cumsum(0) - 1, seen_V.nonzero().flatten()
