"""The plain way of GenSR, against which ours is measured: what one writes first, with the libraries as they are.

Every candidate is a row of its own: its prompt padded to 95 tokens for transformers' T5, called with `inputs_embeds`,
`attention_mask` and `labels`; its history encoded by PyTorch's TransformerEncoderLayer, padded to L x T title tokens;
its soft filter with keys and values projected for the row; the whole vocabulary's logits for every answer. It has the
weights of a given `GenSR` and, without dropout, its answers under `scoring: joint`.

Dimensions: B rows (G groups x C candidates), N history positions, M tokens of a padded prompt, L history, T title
tokens, H heads, K width of a head, E width of a CF vector, D width of the view, V vocabulary.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration
from typing_extensions import Self

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.model.config import ModelConfig, PromptConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.history import HistoryEncoder, recency_bucket
from gensr_dist.model.losses import contrastive_loss
from gensr_dist.model.prompt import SENTINELS, SLOTS
from gensr_dist.model.soft_filter import SoftFilter

PROMPT = 95  # M, of the authors' code


@dataclass(frozen=True)
class PlainRows:
    """A batch, one row a candidate, with copies of all that its group shares."""

    candidates: int
    prompt_BM: Tensor  # int64 token ids; slot s of SLOTS is -1 - s, 0 is padding, at the end
    history_BLT: Tensor  # int64 title tokens, 0 is padding
    history_cf_BLE: Tensor
    behaviour_BL: Tensor  # int64, 0 is padding
    title_BT: Tensor  # int64
    cf_BE: Tensor
    user_B: Tensor  # int64
    answer_B: Tensor  # int64 token id, IGNORED for padding

    def to(self, device: torch.device) -> Self:
        """Copy every tensor to `device`."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()
        }
        return type(self)(**moved)


class PlainCollator:
    """Writes the prompts out and repeats a group's history for each of its candidates.

    Args:
        prompts: templates.
        tokenizer: of the model.
        width: M, to which prompts are padded.
    """

    def __init__(self, prompts: PromptConfig, tokenizer: PreTrainedTokenizerBase, width: int = PROMPT) -> None:
        self.width = width
        ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in SENTINELS.items()}
        self.query = ids["query"]
        self.slots = {ids[name]: -1 - number for number, name in enumerate(SLOTS)}
        self.templates: dict[int, list[int]] = {
            task: tokenizer(template.format(**SENTINELS), add_special_tokens=False)["input_ids"]
            for task, template in (
                (Behaviour.RECOMMENDATION, prompts.recommendation),
                (Behaviour.SEARCH, prompts.search),
            )
        }
        no, yes = (tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("No", "Yes"))
        self.answers = torch.tensor([no, yes])

    def __call__(self, batch: Batch) -> PlainRows:
        """Rows of a batch, those of a group side by side.

        Raises:
            InputError: a prompt is longer than the width.
        """
        C = batch.candidate_GC.shape[1]
        prompt_GM = torch.stack(
            [
                self._prompt(task, query_Q)
                for task, query_Q in zip(batch.task_G.tolist(), batch.query_GQ.tolist(), strict=True)
            ]
        )
        label_B, candidate_B = batch.label_GC.flatten(), batch.candidate_GC.flatten()
        history_BL = batch.history_GL.repeat_interleave(C, dim=0)
        return PlainRows(
            candidates=C,
            prompt_BM=prompt_GM.repeat_interleave(C, dim=0),
            history_BLT=batch.title_UT[history_BL],
            history_cf_BLE=batch.cf_UE[history_BL],
            behaviour_BL=batch.behaviour_GL.repeat_interleave(C, dim=0),
            title_BT=batch.title_UT[candidate_B],
            cf_BE=batch.cf_UE[candidate_B],
            user_B=batch.user_G.repeat_interleave(C),
            answer_B=torch.where(label_B == IGNORED, IGNORED, self.answers[label_B.clamp_min(0)]),
        )

    def _prompt(self, task: int, query_Q: list[int]) -> Tensor:
        tokens: list[int] = []
        for token in self.templates[task]:
            tokens += [t for t in query_Q if t] if token == self.query else [self.slots.get(token, token)]
        if len(tokens) > self.width:
            raise InputError("model.prompts", f"a prompt of {len(tokens)} tokens, {self.width} fit", "shorten it")
        return torch.tensor(tokens + [0] * (self.width - len(tokens)))


@dataclass(frozen=True)
class PlainOutput:
    """One forward pass."""

    logits_BV: Tensor
    loss: Tensor  # mean of -log P(answer), as transformers computes it
    user_cf_BD: Tensor
    user_semantic_BD: Tensor
    has_history_B: Tensor


class PlainGenSR(nn.Module):
    """GenSR (section 4 of the paper) row by row. Build one with `PlainGenSR.of`."""

    def __init__(self, t5: T5ForConditionalGeneration, config: ModelConfig, cf_width: int, cf_scale: float) -> None:
        super().__init__()
        self.t5 = t5
        self.pooled = config.semantic_history == "pooled"
        self.cf_scale = cf_scale
        width = t5.config.d_model
        self.cf_history = PlainHistory(cf_width, config.cf_heads, config.dropout)
        self.semantic_history = PlainHistory(width, config.semantic_heads, config.dropout)
        self.cf_filter = PlainFilter(cf_width, config.cf_heads)
        self.semantic_filter = PlainFilter(width, config.semantic_heads)
        self.cf_projection = nn.Linear(cf_width, width)

    @classmethod
    def of(cls, model: GenSR) -> Self:
        """With copies of a model's weights, in training mode, on the same device.

        Raises:
            ValueError: the model is an ablation.
        """
        config, shape = model.shape.model, model.shape
        if not (config.cf_view and config.semantic_view and config.soft_filter):
            raise ValueError("the plain way has no ablations")
        source = model.backbone.t5
        t5 = T5ForConditionalGeneration(copy.deepcopy(source.config))  # transformers' layers, whatever ours have become
        t5.load_state_dict(source.state_dict())
        plain = cls(t5, config, shape.cf_width, shape.cf_scale)
        plain.cf_projection.load_state_dict(model.cf_projection.state_dict())
        for own, other in (
            (plain.cf_history, model.cf_history),
            (plain.semantic_history, model.semantic_history),
        ):
            own.copy_weights(other)
        for own_filter, other_filter in (
            (plain.cf_filter, model.cf_filter),
            (plain.semantic_filter, model.semantic_filter),
        ):
            assert isinstance(other_filter, SoftFilter)
            own_filter.copy_weights(other_filter)
        return plain.to(source.device)

    def forward(self, rows: PlainRows) -> PlainOutput:
        """Answer every row."""
        mask_BL = rows.behaviour_BL != 0
        recency_BL = (mask_BL.sum(1, keepdim=True) - 1 - torch.arange(mask_BL.shape[1], device=mask_BL.device)).clamp(0)
        dtype = self.cf_projection.weight.dtype
        history_cf_BLE, item_cf_BE = (cf.to(dtype) * self.cf_scale for cf in (rows.history_cf_BLE, rows.cf_BE))
        cf_BLE = self.cf_history(history_cf_BLE, recency_BL, rows.behaviour_BL, mask_BL)
        text_BND, text_mask_BN = self._semantic_history(rows, recency_BL, mask_BL)
        item_text_BD = self._pool(rows.title_BT)
        slots = (
            self.cf_projection(self.cf_filter(item_cf_BE, cf_BLE, mask_BL)),
            self.semantic_filter(item_text_BD, text_BND, text_mask_BN),
            self.cf_projection(item_cf_BE),
            item_text_BD,
        )
        x_BMD = self.t5.shared(rows.prompt_BM.clamp_min(0))
        for number, slot_BD in enumerate(slots):
            x_BMD = torch.where((rows.prompt_BM == -1 - number)[..., None], slot_BD[:, None], x_BMD)
        output = self.t5(
            inputs_embeds=x_BMD,
            attention_mask=(rows.prompt_BM != 0).long(),
            labels=rows.answer_B[:, None],
            use_cache=False,
        )
        return PlainOutput(
            logits_BV=output.logits[:, 0],
            loss=output.loss,
            user_cf_BD=self.cf_projection(_masked_mean(cf_BLE, mask_BL)),
            user_semantic_BD=_masked_mean(text_BND, text_mask_BN),
            has_history_B=mask_BL.any(1) & text_mask_BN.any(1),
        )

    def loss(self, rows: PlainRows, *, temperature: float, contrastive_weight: float) -> Tensor:
        """L = L_task + lambda L_cl (eq. 8) of a step's rows; the users' views are those of their first rows."""
        output = self(rows)
        first = slice(None, None, rows.candidates)
        contrastive = contrastive_loss(
            output.user_cf_BD[first],
            output.user_semantic_BD[first],
            rows.user_B[first],
            output.has_history_B[first],
            temperature=temperature,
            step_groups=len(rows.user_B) // rows.candidates,
        )
        return output.loss + contrastive_weight * contrastive

    def score(self, rows: PlainRows, no_yes: Tensor) -> Tensor:
        """P(Yes) / (P(Yes) + P(No)) of every row [B], both from the softmax over the vocabulary."""
        probability_BV = self(rows).logits_BV.float().softmax(-1)
        no_B, yes_B = probability_BV[:, no_yes].unbind(1)
        return yes_B / (no_B + yes_B)

    def _semantic_history(self, rows: PlainRows, recency_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        if self.pooled:
            text_BLD = self._pool(rows.history_BLT)
            return self.semantic_history(text_BLD, recency_BL, rows.behaviour_BL, mask_BL), mask_BL
        token_BN, width = rows.history_BLT.flatten(1), rows.history_BLT.shape[2]
        mask_BN = token_BN != 0
        recency_BN = recency_BL.repeat_interleave(width, dim=1)
        behaviour_BN = rows.behaviour_BL.repeat_interleave(width, dim=1)
        return self.semantic_history(self.t5.shared(token_BN), recency_BN, behaviour_BN, mask_BN), mask_BN

    def _pool(self, title_XT: Tensor) -> Tensor:
        return _masked_mean(self.t5.shared(title_XT), title_XT != 0)


class PlainHistory(nn.Module):
    """`HistoryEncoder` as PyTorch's own layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )

    def copy_weights(self, source: HistoryEncoder) -> None:
        """Take over the weights of ours."""
        self.recency, self.behaviour = copy.deepcopy(source.recency), copy.deepcopy(source.behaviour)
        attention = self.layer.self_attn
        attention.in_proj_weight = nn.Parameter(source.query_key_value.weight.detach().clone())
        attention.in_proj_bias = nn.Parameter(source.query_key_value.bias.detach().clone())
        attention.out_proj.load_state_dict(source.attention_out.state_dict())
        self.layer.norm1.load_state_dict(source.attention_norm.state_dict())
        self.layer.norm2.load_state_dict(source.feed_forward_norm.state_dict())
        self.layer.linear1.load_state_dict(source.feed_forward[0].state_dict())
        self.layer.linear2.load_state_dict(source.feed_forward[3].state_dict())

    def forward(self, history_BND: Tensor, recency_BN: Tensor, behaviour_BN: Tensor, mask_BN: Tensor) -> Tensor:
        """Arguments and result as of `HistoryEncoder.forward`, padded."""
        x_BND = history_BND + self.recency(recency_bucket(recency_BN)) + self.behaviour(behaviour_BN)
        visible_BN = mask_BN | ~mask_BN.any(1, keepdim=True)  # else an empty history gives NaN
        return self.layer(x_BND, src_key_padding_mask=~visible_BN)


class PlainFilter(nn.Module):
    """The soft filter (eq. 5, 6) with its keys and values formed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.empty_D = nn.Parameter(torch.zeros(width))

    def copy_weights(self, source: SoftFilter) -> None:
        """Take over the weights of ours."""
        with torch.no_grad():
            for own, other_HKD in (
                (self.query, source.query_HKD),
                (self.key, source.key_HKD),
                (self.value, source.value_HKD),
            ):
                own.weight.copy_(other_HKD.flatten(0, 1))
            self.empty_D.copy_(source.empty_D)

    def forward(self, candidate_BD: Tensor, history_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """The history that matters for each row's candidate, f [B, D]."""
        query_BH1K, key_BHNK, value_BHNK = (
            project(x_BND).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, x_BND in (
                (self.query, candidate_BD[:, None]),
                (self.key, history_BND),
                (self.value, history_BND),
            )
        )
        has_history_B1 = mask_BN.any(1, keepdim=True)
        visible_BN = mask_BN | ~has_history_B1
        filtered_BH1K = F.scaled_dot_product_attention(
            query_BH1K, key_BHNK, value_BHNK, attn_mask=visible_BN[:, None, None]
        )
        return torch.where(has_history_B1, filtered_BH1K.flatten(1), self.empty_D)


def _masked_mean(x_XND: Tensor, mask_XN: Tensor) -> Tensor:
    """Mean over the unmasked positions; zeros where there is none."""
    return (x_XND * mask_XN[..., None]).sum(-2) / mask_XN.sum(-1, keepdim=True).clamp_min(1)
