"""The plain way of GenSR, against which ours is measured: what one writes first, with the libraries as they are.

Every candidate is a row of its own: its prompt padded to 95 tokens for transformers' T5, called with `inputs_embeds`,
`attention_mask` and `labels`; its history encoded by PyTorch's TransformerEncoderLayer, padded to L x T title tokens;
its soft filter with keys and values projected for the row; its texts pooled, its likeness to single interactions, both
towers and the late interaction computed for the row; the whole vocabulary's logits for every answer. It has the weights
of a given `GenSR` and, without dropout, its answers under `scoring: joint`.

Dimensions: B rows (G groups x C candidates), N history positions, M tokens of a padded prompt, L history, T title
tokens, Q query tokens, H heads, K width of a head or of the comparison of tokens, E width of a CF vector, D width of
the view, X width of a view or any length, V vocabulary.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration
from typing_extensions import Self

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.model.config import ModelConfig, PromptConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.history import HistoryEncoder, recency_bucket
from gensr_dist.model.history_match import APART, DECAY, HistoryMatch
from gensr_dist.model.losses import contrastive_loss, match_loss
from gensr_dist.model.match import MatchTowers
from gensr_dist.model.prompt import SENTINELS, SLOTS
from gensr_dist.model.soft_filter import SoftFilter
from gensr_dist.model.term_match import LEAST_WEIGHT, TermMatch

PROMPT = 95  # M, of the authors' code


@dataclass(frozen=True)
class PlainRows:
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

    def __init__(self, prompts: PromptConfig, tokenizer: TextTokenizer, width: int = PROMPT) -> None:
        self.width = width
        ids = {name: tokenizer.vocabulary[token] for name, token in SENTINELS.items()}
        self.query = ids["query"]
        self.slots = {ids[name]: -1 - number for number, name in enumerate(SLOTS)}
        self.templates: dict[int, list[int]] = {
            task: tokenizer.encode(template.format(**SENTINELS))
            for task, template in (
                (Behaviour.RECOMMENDATION, prompts.recommendation),
                (Behaviour.SEARCH, prompts.search),
            )
        }
        no, yes = (tokenizer.encode(word)[0] for word in ("No", "Yes"))
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
        query_GQ = batch.query_GQ.masked_fill((batch.task_G != Behaviour.SEARCH)[:, None], 0)
        return PlainRows(
            candidates=C,
            prompt_BM=prompt_GM.repeat_interleave(C, dim=0),
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
    match_user_BD: Tensor  # of the towers
    match_item_BD: Tensor


class PlainGenSR(nn.Module):
    """GenSR (section 4 of the paper) row by row. Build one with `PlainGenSR.of`."""

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        config: ModelConfig,
        cf_width: int,
        cf_scale: float,
        token_idf_V: Tensor,
        *,
        cf_match: "PlainHistoryMatch",
        semantic_match: "PlainHistoryMatch",
        match: "PlainTowers",
        term_match: "PlainTermMatch",
    ) -> None:
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
        self.cf_match, self.semantic_match = cf_match, semantic_match
        self.match, self.term_match = match, term_match
        self.token_idf_V: Tensor
        self.register_buffer("token_idf_V", token_idf_V.clone())

    @classmethod
    def of(cls, model: GenSR) -> Self:
        """With copies of a model's weights, in training mode, on the same device.

        Raises:
            ValueError: the model is an ablation.
        """
        config, shape = model.shape.model, model.shape
        whole = config.cf_view and config.semantic_view and config.soft_filter
        cf_match, semantic_match = model.cf_match, model.semantic_match
        match, term_match = model.match, model.term_match
        if not whole or cf_match is None or semantic_match is None or match is None or term_match is None:
            raise ValueError("the plain way has no ablations")
        source = model.backbone.t5
        t5 = T5ForConditionalGeneration(T5Config(**source.config.config()))  # transformers' own layers
        t5.load_state_dict(source.state_dict())
        plain = cls(
            t5,
            config,
            shape.cf_width,
            shape.cf_scale,
            model.token_idf_V,
            cf_match=PlainHistoryMatch(cf_match),
            semantic_match=PlainHistoryMatch(semantic_match),
            match=PlainTowers(match),
            term_match=PlainTermMatch(term_match),
        )
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
        return plain.to(model.answers.device)

    def forward(self, rows: PlainRows) -> PlainOutput:
        """Answer every row."""
        mask_BL = rows.behaviour_BL != 0
        recency_BL = (mask_BL.sum(1, keepdim=True) - 1 - torch.arange(mask_BL.shape[1], device=mask_BL.device)).clamp(0)
        dtype = self.cf_projection.weight.dtype
        history_cf_BLE, item_cf_BE = (cf.to(dtype) * self.cf_scale for cf in (rows.history_cf_BLE, rows.cf_BE))
        cf_BLE = self.cf_history(history_cf_BLE, recency_BL, rows.behaviour_BL, mask_BL)
        history_BLTD, title_BTD, query_BQD = map(self.t5.shared, (rows.history_BLT, rows.title_BT, rows.query_BQ))
        history_text_BLD = self._pool(rows.history_BLT, history_BLTD)
        text_BND, text_mask_BN = self._semantic_history(rows, history_BLTD, history_text_BLD, recency_BL)
        item_text_BD = self._pool(rows.title_BT, title_BTD)
        other_BL = mask_BL & (rows.history_item_BL != rows.item_B[:, None])
        near_cf_BD = self.cf_match(item_cf_BE, history_cf_BLE, recency_BL, mask_BL, other_BL)
        near_text_BD = self.semantic_match(item_text_BD, history_text_BLD, recency_BL, mask_BL, other_BL)
        user_cf_BE, user_text_BD = _masked_mean(cf_BLE, mask_BL), _masked_mean(text_BND, text_mask_BN)
        match_user_BD, match_item_BD, product_BD = self.match(
            torch.cat([user_cf_BE, user_text_BD], dim=1),
            self._pool(rows.query_BQ, query_BQD),
            torch.cat([item_cf_BE, item_text_BD], dim=1),
        )
        asked_BQ, query_weight_BQ = rows.query_BQ != 0, self.token_idf_V[rows.query_BQ]
        found_BD = self.term_match(query_BQD, query_weight_BQ, asked_BQ, title_BTD, rows.title_BT != 0)
        slots = (
            self.cf_projection(self.cf_filter(item_cf_BE, cf_BLE, mask_BL)) + near_cf_BD + product_BD,
            self.semantic_filter(item_text_BD, text_BND, text_mask_BN) + near_text_BD,
            self.cf_projection(item_cf_BE),
            item_text_BD + found_BD,
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
            user_cf_BD=self.cf_projection(user_cf_BE),
            user_semantic_BD=user_text_BD,
            has_history_B=mask_BL.any(1) & text_mask_BN.any(1),
            match_user_BD=match_user_BD,
            match_item_BD=match_item_BD,
        )

    def loss(self, rows: PlainRows, *, temperature: float, contrastive_weight: float, match_weight: float) -> Tensor:
        """Eq. 8 and the towers' loss of a step's rows; what a group's rows share is taken of the first of them."""
        output = self(rows)
        first, C = slice(None, None, rows.candidates), rows.candidates
        step_groups = len(rows.user_B) // C
        contrastive = contrastive_loss(
            output.user_cf_BD[first],
            output.user_semantic_BD[first],
            rows.user_B[first],
            output.has_history_B[first],
            temperature=temperature,
            step_groups=step_groups,
        )
        match = match_loss(
            output.match_user_BD[first],
            output.match_item_BD.unflatten(0, (-1, C)),
            rows.item_B.unflatten(0, (-1, C)),
            step_groups=step_groups,
        )
        return output.loss + contrastive_weight * contrastive + match_weight * match

    def score(self, rows: PlainRows, no_yes: Tensor) -> Tensor:
        """P(Yes) / (P(Yes) + P(No)) of every row [B], both from the softmax over the vocabulary."""
        probability_BV = self(rows).logits_BV.float().softmax(-1)
        no_B, yes_B = probability_BV[:, no_yes].unbind(1)
        return yes_B / (no_B + yes_B)

    def _semantic_history(
        self, rows: PlainRows, history_BLTD: Tensor, history_text_BLD: Tensor, recency_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.pooled:
            mask_BL = rows.behaviour_BL != 0
            return self.semantic_history(history_text_BLD, recency_BL, rows.behaviour_BL, mask_BL), mask_BL
        mask_BN, width = rows.history_BLT.flatten(1) != 0, rows.history_BLT.shape[2]
        recency_BN = recency_BL.repeat_interleave(width, dim=1)
        behaviour_BN = rows.behaviour_BL.repeat_interleave(width, dim=1)
        return self.semantic_history(history_BLTD.flatten(1, 2), recency_BN, behaviour_BN, mask_BN), mask_BN

    def _pool(self, token_BXT: Tensor, embedded_BXTD: Tensor) -> Tensor:
        """Mean of a text's embedded tokens by their weights [B, X, D], X or none of them; zeros where none weighs."""
        weight_BXT = self.token_idf_V[token_BXT] * (token_BXT != 0)
        least = torch.finfo(weight_BXT.dtype).tiny
        share_BXT = weight_BXT / weight_BXT.sum(-1, keepdim=True).clamp_min(least)
        return (embedded_BXTD * share_BXT[..., None]).sum(-2)


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


class PlainHistoryMatch(nn.Module):
    """`HistoryMatch` of a row's candidate and its own copy of the history, with the same layers."""

    def __init__(self, source: HistoryMatch) -> None:
        super().__init__()
        self.layers = copy.deepcopy(source.layers)

    def forward(
        self, item_BX: Tensor, history_BLX: Tensor, recency_BL: Tensor, mask_BL: Tensor, other_BL: Tensor
    ) -> Tensor:
        """What the slot of each row's filtered history gets [B, D].

        Args:
            item_BX: the candidate in the view.
            history_BLX: its history, not encoded.
            recency_BL: age of each interaction, 0 for the newest.
            mask_BL: where there is an interaction.
            other_BL: where there is one with another item than the candidate.
        """
        unit_BX1, unit_BLX = F.normalize(item_BX, dim=-1)[..., None], F.normalize(history_BLX, dim=-1)
        like_BL = (unit_BLX @ unit_BX1).squeeze(-1)
        greatest_B = like_BL.masked_fill(~other_BL, APART).max(-1).values
        newest_BL = mask_BL & (recency_BL == 0)
        mean_BL = mask_BL / mask_BL.sum(1, keepdim=True).clamp_min(1)
        weight_BL3 = torch.stack([mask_BL * DECAY**recency_BL, newest_BL.float(), mean_BL], dim=-1).to(like_BL.dtype)
        summed_B3 = ((like_BL * other_BL)[:, None] @ weight_BL3).squeeze(1)
        return self.layers(torch.cat([summed_B3, greatest_B[:, None]], dim=1))


class PlainTowers(nn.Module):
    """`MatchTowers` of a row's user and item, with the same layers."""

    def __init__(self, source: MatchTowers) -> None:
        super().__init__()
        self.user, self.query, self.item, self.product = (
            copy.deepcopy(layer) for layer in (source.user, source.query, source.item, source.product)
        )

    def forward(self, user_BX: Tensor, query_BD: Tensor, item_BX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u, v and W_m (u * v), each [B, D], of both views side by side."""
        user_BD = self.user(user_BX) + self.query(query_BD)
        item_BD = self.item(item_BX)
        return user_BD, item_BD, self.product(user_BD * item_BD)


class PlainTermMatch(nn.Module):
    """`TermMatch` with the likeness of every token of a row's query to every token of its title."""

    def __init__(self, source: TermMatch) -> None:
        super().__init__()
        self.projection, self.importance, self.out = (
            copy.deepcopy(layer) for layer in (source.projection, source.importance, source.out)
        )

    def forward(
        self, query_BQD: Tensor, query_weight_BQ: Tensor, asked_BQ: Tensor, title_BTD: Tensor, title_mask_BT: Tensor
    ) -> Tensor:
        """What the slot of each row's text gets [B, D]; zeros where nothing is asked."""
        query_BQK, title_BTK = (F.normalize(self.projection(x_BXD), dim=-1) for x_BXD in (query_BQD, title_BTD))
        like_BQT = query_BQK @ title_BTK.transpose(1, 2)
        best_BQ = like_BQT.masked_fill(~title_mask_BT[:, None], -1.0).max(-1).values
        searches_B1 = asked_BQ.any(1, keepdim=True)
        visible_BQ1 = (asked_BQ | ~searches_B1)[..., None]  # else a row without a query gives NaN
        logit_BQH = self.importance(query_BQK) + query_weight_BQ.clamp_min(LEAST_WEIGHT).log()[..., None]
        weight_BQH = logit_BQH.masked_fill(~visible_BQ1, -torch.inf).softmax(1)
        feature_BH = (best_BQ[:, None] @ weight_BQH).squeeze(1)
        worst_B1 = best_BQ.masked_fill(~asked_BQ, 1.0).amin(1, keepdim=True)
        found_BD = self.out(torch.cat([feature_BH, worst_B1], dim=1))
        return torch.where(searches_B1, found_BD, 0.0)


def _masked_mean(x_XND: Tensor, mask_XN: Tensor) -> Tensor:
    """Mean over the unmasked positions; zeros where there is none."""
    return (x_XND * mask_XN[..., None]).sum(-2) / mask_XN.sum(-1, keepdim=True).clamp_min(1)
