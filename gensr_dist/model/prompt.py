"""The instruction prompt (eq. 7): text around four embedding slots, one template a task.

A prompt has two parts. The context (instruction and query, up to the first slot) is the same for every candidate of a
group; the block (the four slots and the text between and after them) differs by candidate. The context is padded on the
left, so that every token keeps the distances to the others that it would have alone: T5 knows relative positions only.

Dimensions: G groups, R distinct requests (a task and its query), Q query tokens, S context tokens, P block tokens, X =
1 + Q, the task and the query.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.model.config import PromptConfig
from gensr_dist.model.template import SLOTS, check_template

SENTINELS = {name: f"<extra_id_{number}>" for number, name in enumerate((*SLOTS, "query"))}
TEXT_SLOT = -1  # block entry that is a token of text


@dataclass(frozen=True)
class Prompts:
    """Token ids and masks of a batch's prompts; the backbone embeds them and puts the slot vectors in.

    Where contexts are shared, requests of the same text, such as all recommendations, have one.
    """

    context_RS: Tensor  # int64, 0 is padding, on the left
    request_G: Tensor  # int64, the context of each group
    block_GP: Tensor  # int64 token ids, 0 at slots and padding
    block_slot_GP: Tensor  # int64 index in SLOTS, TEXT_SLOT elsewhere
    block_mask_GP: Tensor  # bool


class PromptAssembler:
    """Puts the tokens of templates and queries together, vectorised over a batch of both tasks, on the host.

    Args:
        config: templates.
        tokenizer: must know the sentinel tokens `<extra_id_0>` to `<extra_id_4>`, as T5 tokenizers do.

    Raises:
        InputError: a template is wrong, see `check_template`, or the tokenizer leaves no token before its first slot;
            the tokenizer lacks a sentinel.
    """

    def __init__(self, config: PromptConfig, tokenizer: TextTokenizer) -> None:
        if missing := sorted(set(SENTINELS.values()) - tokenizer.vocabulary.keys()):
            raise InputError(
                "data.tokenizer", f"it lacks the token {missing[0]}", "use a T5 tokenizer or one trained on the corpus"
            )
        recommendation, recommendation_block, recommendation_slots = _tokenize(
            config.recommendation, tokenizer, "recommendation"
        )
        search, search_block, search_slots = _tokenize(config.search, tokenizer, "search")
        at = search.index(tokenizer.vocabulary[SENTINELS["query"]])
        width = max(len(recommendation_block), len(search_block))
        blocks = ((recommendation_block, recommendation_slots), (search_block, search_slots))
        self.before_query_A = torch.tensor(search[:at], dtype=torch.long)
        self.after_query_B = torch.tensor(search[at + 1 :], dtype=torch.long)
        self.recommendation_S = torch.tensor(recommendation, dtype=torch.long)
        self.block_2P = torch.zeros(2, width, dtype=torch.long)
        self.block_slot_2P = torch.full((2, width), TEXT_SLOT)
        self.block_mask_2P = torch.zeros(2, width, dtype=torch.bool)
        for task, (tokens, slots) in enumerate(blocks):
            self.block_2P[task, : len(tokens)] = torch.tensor(tokens)
            self.block_slot_2P[task, : len(slots)] = torch.tensor(slots)
            self.block_mask_2P[task, : len(tokens)] = True

    def __call__(self, task_G: Tensor, query_GQ: Tensor, *, share_contexts: bool = True) -> Prompts:
        """Assemble the prompts of a batch.

        Args:
            share_contexts: one context for requests of the same text; else one a group.
            task_G: int64 `Behaviour`.
            query_GQ: int64 token ids padded with 0; ignored for recommendation.
        """
        asked_GQ = query_GQ.masked_fill((task_G != Behaviour.SEARCH)[:, None], 0)
        request_RX, request_G = torch.cat([task_G[:, None], asked_GQ], dim=1), torch.arange(len(task_G))
        if share_contexts:
            request_RX, request_G = request_RX.unique(dim=0, return_inverse=True)
        return Prompts(
            context_RS=self._contexts(request_RX[:, 0], request_RX[:, 1:]),
            request_G=request_G,
            block_GP=self.block_2P[task_G],
            block_slot_GP=self.block_slot_2P[task_G],
            block_mask_GP=self.block_mask_2P[task_G],
        )

    def _contexts(self, task_R: Tensor, query_RQ: Tensor) -> Tensor:
        requests = task_R.shape[0]
        search_RX = torch.cat(
            [self.before_query_A.expand(requests, -1), query_RQ, self.after_query_B.expand(requests, -1)], dim=1
        )
        recommendation_RS = self.recommendation_S.expand(requests, -1)
        width = max(search_RX.shape[1], recommendation_RS.shape[1])
        is_search_R1 = (task_R == Behaviour.SEARCH)[:, None]
        context_RS = torch.where(is_search_R1, _pad_left(search_RX, width), _pad_left(recommendation_RS, width))
        # A query shorter than Q leaves holes in the middle: a stable sort moves them to the front.
        order_RS = (context_RS != 0).int().argsort(dim=1, stable=True)
        context_RS = context_RS.gather(1, order_RS)
        return context_RS[:, int((context_RS == 0).all(0).sum()) :]


def _pad_left(tokens_RX: Tensor, width: int) -> Tensor:
    return F.pad(tokens_RX, (width - tokens_RX.shape[1], 0))


def _tokenize(
    template: str, tokenizer: TextTokenizer, task: Literal["recommendation", "search"]
) -> tuple[list[int], list[int], list[int]]:
    """Tokens of the context, and tokens and slots of the block."""
    check_template(template, task, tokenizer.special_tokens)
    ids = tokenizer.encode(template.format(**SENTINELS))
    slot_of = {tokenizer.vocabulary[SENTINELS[name]]: number for number, name in enumerate(SLOTS)}
    first = min(position for position, token in enumerate(ids) if token in slot_of)
    if first == 0:
        raise InputError(
            f"model.prompts.{task}",
            "the tokenizer leaves nothing of the text before the first slot",
            "begin the template with words",
        )
    block = ids[first:]
    return (
        ids[:first],
        [0 if token in slot_of else token for token in block],
        [slot_of.get(token, TEXT_SLOT) for token in block],
    )
