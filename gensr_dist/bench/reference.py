"""The reference form of GenSR, against which ours is measured: what one writes first, with the libraries as they are.

Every candidate is a row of its own, with its prompt padded to 95 tokens for transformers' T5, its history padded to
L x T title tokens for PyTorch's TransformerEncoderLayer, everything else computed for the row, and the whole
vocabulary's logits for the answer. It has the weights of a given `GenSR` and, without dropout, its answers under
`scoring: joint`.

Dimensions: B rows (G groups x C candidates), N history positions, M tokens of a padded prompt, L history, T title
tokens, Q query tokens, H heads, K width of a head or of the comparison of tokens, E width of a CF vector, D width of
the view, X width of a view or any length, V vocabulary.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from gensr_dist.bench.reference_rows import ReferenceRows
from gensr_dist.data.history_evidence import DECAY
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.history import HistoryEncoder, recency_bucket
from gensr_dist.model.history_match import APART
from gensr_dist.model.losses import contrastive_loss, match_loss
from gensr_dist.model.term_match import LEAST_WEIGHT
from gensr_dist.train.config import TrainConfig


@dataclass(frozen=True)
class ReferenceOutput:
    """One forward pass."""

    logits_BV: Tensor
    loss: Tensor  # mean of -log P(answer), as transformers computes it
    user_cf_BD: Tensor
    user_semantic_BD: Tensor
    has_history_B: Tensor
    match_user_BD: Tensor  # of the towers
    match_item_BD: Tensor


class ReferenceGenSR(nn.Module):
    """GenSR (section 4 of the paper) row by row, in training mode.

    Args:
        model: whose weights are copied, to the same device.

    Raises:
        ValueError: the model is an ablation.
    """

    def __init__(self, model: GenSR) -> None:
        super().__init__()
        config = model.shape.model
        views, likeness = (config.cf_view, config.semantic_view), (config.history_match, config.term_match)
        evidence = (config.history_evidence, config.query_evidence)
        if not all((*views, *likeness, *evidence, config.soft_filter, config.match)):
            raise ValueError("the reference has no ablations")
        self.pooled, self.cf_scale = config.semantic_history == "pooled", model.shape.cf_scale
        source = model.backbone.t5
        self.t5 = T5ForConditionalGeneration(T5Config(**source.config.config()))  # transformers' own layers
        self.t5.load_state_dict(source.state_dict())
        self.cf_history = ReferenceHistory(model.cf_history)
        self.semantic_history = ReferenceHistory(model.semantic_history)
        self.cf_filter, self.semantic_filter = ReferenceFilter(model.cf_filter), ReferenceFilter(model.semantic_filter)
        self.cf_match, self.semantic_match = ReferenceNear(model.cf_match), ReferenceNear(model.semantic_match)
        self.cf_projection = copy.deepcopy(model.cf_projection)
        self.match, self.term_match = ReferenceTowers(model.match), ReferenceTerms(model.term_match)
        self.query_evidence = copy.deepcopy(model.query_evidence)
        self.history_evidence = copy.deepcopy(model.history_evidence)
        self.token_idf_V: Tensor
        self.register_buffer("token_idf_V", model.token_idf_V.clone())
        self.to(model.answers.device)

    def forward(self, rows: ReferenceRows) -> ReferenceOutput:
        """Answer every row."""
        mask_BL = rows.behaviour_BL != 0
        recency_BL = (mask_BL.sum(1, keepdim=True) - 1 - torch.arange(mask_BL.shape[1], device=mask_BL.device)).clamp(0)
        dtype = self.cf_projection.weight.dtype
        history_cf_BLE, item_cf_BE = (cf.to(dtype) * self.cf_scale for cf in (rows.history_cf_BLE, rows.cf_BE))
        history_BLTD, title_BTD, query_BQD = map(self.t5.shared, (rows.history_BLT, rows.title_BT, rows.query_BQ))
        history_text_BLD = self._pool(rows.history_BLT, history_BLTD)
        item_text_BD = self._pool(rows.title_BT, title_BTD)

        cf_BLE = self.cf_history(history_cf_BLE, recency_BL, rows.behaviour_BL, mask_BL)
        text = history_text_BLD, recency_BL, rows.behaviour_BL, mask_BL
        if not self.pooled:
            T = rows.history_BLT.shape[2]
            ages = (x_BL.repeat_interleave(T, dim=1) for x_BL in (recency_BL, rows.behaviour_BL))
            text = (history_BLTD.flatten(1, 2), *ages, rows.history_BLT.flatten(1) != 0)
        text_BND, text_mask_BN = self.semantic_history(*text), text[-1]
        user_cf_BE, user_text_BD = _masked_mean(cf_BLE, mask_BL), _masked_mean(text_BND, text_mask_BN)

        other_BL = mask_BL & (rows.history_item_BL != rows.item_B[:, None])
        near_cf_BD = self.cf_match(item_cf_BE, history_cf_BLE, recency_BL, mask_BL, other_BL)
        near_text_BD = self.semantic_match(item_text_BD, history_text_BLD, recency_BL, mask_BL, other_BL)
        user_BX, item_BX = torch.cat([user_cf_BE, user_text_BD], dim=1), torch.cat([item_cf_BE, item_text_BD], dim=1)
        match_user_BD, match_item_BD, product_BD = self.match(user_BX, self._pool(rows.query_BQ, query_BQD), item_BX)
        query_weight_BQ = self.token_idf_V[rows.query_BQ]
        found_BD = self.term_match(query_BQD, query_weight_BQ, rows.query_BQ != 0, title_BTD, rows.title_BT != 0)
        assert self.query_evidence is not None
        assert self.history_evidence is not None
        asked_BD = self.query_evidence(rows.query_evidence_BF) * (rows.query_BQ != 0).any(1, keepdim=True)
        told_BD = product_BD + self.history_evidence(rows.history_evidence_BF)
        slots = (
            self.cf_projection(self.cf_filter(item_cf_BE, cf_BLE, mask_BL)) + near_cf_BD + told_BD,
            self.semantic_filter(item_text_BD, text_BND, text_mask_BN) + near_text_BD,
            self.cf_projection(item_cf_BE),
            item_text_BD + found_BD + asked_BD,
        )
        x_BMD = self.t5.shared(rows.prompt_BM.clamp_min(0))
        for number, slot_BD in enumerate(slots):
            x_BMD = torch.where((rows.prompt_BM == -1 - number)[..., None], slot_BD[:, None], x_BMD)
        mask_BM, labels_B1 = (rows.prompt_BM != 0).long(), rows.answer_B[:, None]
        output = self.t5(inputs_embeds=x_BMD, attention_mask=mask_BM, labels=labels_B1, use_cache=False)
        return ReferenceOutput(
            logits_BV=output.logits[:, 0],
            loss=output.loss,
            user_cf_BD=self.cf_projection(user_cf_BE),
            user_semantic_BD=user_text_BD,
            has_history_B=mask_BL.any(1) & text_mask_BN.any(1),
            match_user_BD=match_user_BD,
            match_item_BD=match_item_BD,
        )

    def loss(self, rows: ReferenceRows, settings: TrainConfig) -> Tensor:
        """Eq. 8 and the towers' loss of a step's rows; what a group's rows share is taken of the first of them."""
        output = self(rows)
        first, C = slice(None, None, rows.candidates), rows.candidates
        step_groups = len(rows.user_B) // C
        users = (x[first] for x in (output.user_cf_BD, output.user_semantic_BD, rows.user_B, output.has_history_B))
        contrastive = contrastive_loss(*users, temperature=settings.temperature, step_groups=step_groups)
        items = (x.unflatten(0, (-1, C)) for x in (output.match_item_BD, rows.item_B))
        match = match_loss(output.match_user_BD[first], *items, step_groups=step_groups)
        return output.loss + settings.contrastive_weight * contrastive + settings.match_weight * match

    def score(self, rows: ReferenceRows, no_yes: Tensor) -> Tensor:
        """P(Yes) / (P(Yes) + P(No)) of every row [B], both from the softmax over the vocabulary."""
        no_B, yes_B = self(rows).logits_BV.float().softmax(-1)[:, no_yes].unbind(1)
        return yes_B / (no_B + yes_B)

    def _pool(self, token_BXT: Tensor, embedded_BXTD: Tensor) -> Tensor:
        """Mean of a text's embedded tokens by their weights [B, X, D], X or none of them; zeros where none weighs."""
        weight_BXT = self.token_idf_V[token_BXT] * (token_BXT != 0)
        least = torch.finfo(weight_BXT.dtype).tiny
        share_BXT = weight_BXT / weight_BXT.sum(-1, keepdim=True).clamp_min(least)
        return (embedded_BXTD * share_BXT[..., None]).sum(-2)


class ReferenceHistory(nn.Module):
    """`HistoryEncoder` as PyTorch's own layer."""

    def __init__(self, source: HistoryEncoder) -> None:
        super().__init__()
        width, dropout = source.attention_norm.normalized_shape[0], source.dropout
        self.recency, self.behaviour = copy.deepcopy(source.recency), copy.deepcopy(source.behaviour)
        self.layer = nn.TransformerEncoderLayer(
            width, source.heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        ours = {
            "self_attn.in_proj_": source.query_key_value,
            "self_attn.out_proj.": source.attention_out,
            "norm1.": source.attention_norm,
            "norm2.": source.feed_forward_norm,
            "linear1.": source.feed_forward[0],
            "linear2.": source.feed_forward[3],
        }
        self.layer.load_state_dict({f"{a}{b}": x for a, own in ours.items() for b, x in own.state_dict().items()})

    def forward(self, history_BND: Tensor, recency_BN: Tensor, behaviour_BN: Tensor, mask_BN: Tensor) -> Tensor:
        """Encoded [B, N, D], padded: embeddings, the age and behaviour of each, and where there are any."""
        x_BND = history_BND + self.recency(recency_bucket(recency_BN)) + self.behaviour(behaviour_BN)
        visible_BN = mask_BN | ~mask_BN.any(1, keepdim=True)  # else an empty history gives NaN
        return self.layer(x_BND, src_key_padding_mask=~visible_BN)


class RowModule(nn.Module):
    """Copies of the layers of one of our modules, to compute the same of each row on its own."""

    def __init__(self, source: nn.Module | None) -> None:
        super().__init__()
        assert source is not None
        for name, layer in source.named_children():
            self.add_module(name, copy.deepcopy(layer))
        for name, weight in source.named_parameters(recurse=False):
            self.register_parameter(name, copy.deepcopy(weight))


class ReferenceFilter(RowModule):
    """The soft filter (eq. 5, 6) with its keys and values formed."""

    query_HKD: nn.Parameter
    key_HKD: nn.Parameter
    value_HKD: nn.Parameter
    empty_D: nn.Parameter

    def forward(self, candidate_BD: Tensor, history_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """The history that matters for each row's candidate, f [B, D]."""

        def project(x_BXD: Tensor, weight_HKD: Tensor) -> Tensor:
            return F.linear(x_BXD, weight_HKD.flatten(0, 1)).unflatten(-1, weight_HKD.shape[:2]).transpose(1, 2)

        query_BH1K = project(candidate_BD[:, None], self.query_HKD)
        key_BHNK, value_BHNK = project(history_BND, self.key_HKD), project(history_BND, self.value_HKD)
        has_history_B1 = mask_BN.any(1, keepdim=True)
        visible_BN = mask_BN | ~has_history_B1
        seen_B11N = visible_BN[:, None, None]
        filtered_BH1K = F.scaled_dot_product_attention(query_BH1K, key_BHNK, value_BHNK, attn_mask=seen_B11N)
        return torch.where(has_history_B1, filtered_BH1K.flatten(1), self.empty_D)


class ReferenceNear(RowModule):
    """`HistoryMatch` of a row's candidate and its own copy of the history."""

    layers: nn.Sequential

    def forward(
        self, item_BX: Tensor, history_BLX: Tensor, recency_BL: Tensor, mask_BL: Tensor, other_BL: Tensor
    ) -> Tensor:
        """What the slot of each row's filtered history, which is not encoded here, gets [B, D].

        Interactions are where `mask_BL` is, and with another item than the candidate where `other_BL` is.
        """
        unit_BX1, unit_BLX = F.normalize(item_BX, dim=-1)[..., None], F.normalize(history_BLX, dim=-1)
        like_BL = (unit_BLX @ unit_BX1).squeeze(-1)
        greatest_B = like_BL.masked_fill(~other_BL, APART).max(-1).values
        newest_BL = mask_BL & (recency_BL == 0)
        mean_BL = mask_BL / mask_BL.sum(1, keepdim=True).clamp_min(1)
        weight_BL3 = torch.stack([mask_BL * DECAY**recency_BL, newest_BL.float(), mean_BL], dim=-1).to(like_BL.dtype)
        summed_B3 = ((like_BL * other_BL)[:, None] @ weight_BL3).squeeze(1)
        return self.layers(torch.cat([summed_B3, greatest_B[:, None]], dim=1))


class ReferenceTowers(RowModule):
    """`MatchTowers` of a row's user and item."""

    user: nn.Linear
    query: nn.Linear
    item: nn.Linear
    product: nn.Linear

    def forward(self, user_BX: Tensor, query_BD: Tensor, item_BX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u, v and W_m (u * v), each [B, D], of both views side by side."""
        user_BD, item_BD = self.user(user_BX) + self.query(query_BD), self.item(item_BX)
        return user_BD, item_BD, self.product(user_BD * item_BD)


class ReferenceTerms(RowModule):
    """`TermMatch` with the likeness of every token of a row's query to every token of its title."""

    projection: nn.Linear
    importance: nn.Linear
    out: nn.Linear

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
