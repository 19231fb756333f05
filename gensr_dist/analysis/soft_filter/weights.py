"""Weights that the soft filters give to interactions, and what answers become without one.

Dimensions: R rows, C candidates, L history, G groups, N positions of a view's history (interactions or title tokens), X
shorter histories of all rows, D width of a view, P chosen groups.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.model.inputs import History, ModelInput
from gensr_dist.runs.trained_run import TrainedRun

CF, TEXT = "CF", "text"
_ROWS_A_PASS = 128
_HISTORIES_A_PASS = 1_024

Int = NDArray[np.int64]
Float = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of rows of one task; histories are oldest first."""

    item_RL: Int  # -1 pads
    behaviour_RL: Int
    length_R: Int
    weights: Mapping[str, Float]  # by view [R, C, L]; 0 at padding

    def take(self, place_P: Int) -> "Weights":
        """Of some of the rows."""
        return Weights(
            item_RL=self.item_RL[place_P],
            behaviour_RL=self.behaviour_RL[place_P],
            length_R=self.length_R[place_P],
            weights={view: weight_RCL[place_P] for view, weight_RCL in self.weights.items()},
        )


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """By how much the log-odds of a row's first candidate fall when one interaction is left out."""

    whole_R: Float  # log-odds with the whole history
    change_RL: Float  # of a real scoring of the shorter history; 0 at padding
    filtered_RL: Float  # when the soft filters alone do not see it


@torch.no_grad()
def weights_of(trained: TrainedRun, rows: EvalRows) -> Weights:
    """Recompute alpha of eq. 5 for every candidate, the mean over heads; of title tokens, their sum an interaction."""
    model, config = trained.model, trained.model.shape.model
    views = [view for view, seen in ((CF, config.cf_view), (TEXT, config.semantic_view)) if seen]  # that the prompt has
    item_RL, behaviour_RL = trained.store.gather_histories(
        rows.user_R, rows.history_end_R, longest := trained.collator.history
    )
    weights = {view: np.zeros((*rows.candidate_RC.shape, longest), dtype=np.float32) for view in views}
    for start in range(0, len(rows), _ROWS_A_PASS):
        place = slice(start, start + _ROWS_A_PASS)
        chunk = rows.take(np.arange(len(rows))[place])
        inputs = model.inputs(trained.collator.evaluation(chunk)).to(trained.device)
        seen, batch = model.views(inputs), inputs.batch
        found = {
            CF: model.cf_filter.weights(seen.cf_UE[batch.candidate_GC], seen.cf_GNE, inputs.cf_history.mask_GN),
            TEXT: model.semantic_filter.weights(
                seen.text_UD[batch.candidate_GC], seen.text_GND, inputs.semantic_history.mask_GN
            ),
        }
        for view in views:
            place_GN = _interactions(inputs, view, tokens=config.semantic_history == "tokens")
            weight_GCN = found[view].float()
            weight_GCL = weight_GCN.new_zeros((*weight_GCN.shape[:2], longest))
            weight_GCL.scatter_add_(2, place_GN[:, None].expand_as(weight_GCN), weight_GCN)
            weights[view][place] = weight_GCL.cpu().numpy()
    return Weights(item_RL=item_RL, behaviour_RL=behaviour_RL, length_R=(item_RL >= 0).sum(axis=1), weights=weights)


@torch.no_grad()
def left_out(trained: TrainedRun, rows: EvalRows) -> LeftOut:
    """Score each row's first candidate with its whole history, and without each interaction of it.

    A shorter history is one entry shorter: none that is older takes its place, and older ones come one place nearer.
    """
    item_RL, behaviour_RL = trained.store.gather_histories(rows.user_R, rows.history_end_R, trained.collator.history)
    whole_R = _scores(trained, rows, item_RL, behaviour_RL)
    row_X, place_X = np.nonzero(item_RL >= 0)
    change_RL, filtered_RL = np.zeros(item_RL.shape, np.float32), np.zeros(item_RL.shape, np.float32)
    for start in range(0, len(row_X), _HISTORIES_A_PASS):
        row_G, left_G = row_X[start : start + _HISTORIES_A_PASS], place_X[start : start + _HISTORIES_A_PASS]
        own, item_GL, behaviour_GL = rows.take(row_G), item_RL[row_G], behaviour_RL[row_G]
        shorter_G = _scores(trained, own, without(item_GL, left_G, -1), without(behaviour_GL, left_G, 0))
        change_RL[row_G, left_G] = whole_R[row_G] - shorter_G
        masked_G = _scores(trained, own, item_GL, behaviour_GL, hidden_G=left_G)
        filtered_RL[row_G, left_G] = whole_R[row_G] - masked_G
    return LeftOut(whole_R=whole_R, change_RL=change_RL, filtered_RL=filtered_RL)


def without(value_GL: Int, left_G: Int, padding: int) -> Int:
    """Each history without the entry at a place, padded at its end."""
    place_GL = np.arange(value_GL.shape[1]) + (np.arange(value_GL.shape[1]) >= left_G[:, None])
    padded_GL = np.column_stack([value_GL, np.full(len(value_GL), padding)])
    return np.take_along_axis(padded_GL, place_GL, axis=1)


def _scores(trained: TrainedRun, rows: EvalRows, item_GL: Int, behaviour_GL: Int, hidden_G: Int | None = None) -> Float:
    """Log-odds of the first candidate of each row with these histories, of which the filters do not see one entry."""
    query_GQ = np.zeros((len(rows), trained.items.query_QT.shape[1]), dtype=np.int64)
    asked_G = rows.query_R >= 0
    query_GQ[asked_G] = trained.items.query_QT[rows.query_R[asked_G]]
    texts = [trained.items.queries[query] if query >= 0 else "" for query in rows.query_R.tolist()]
    score_G = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _HISTORIES_A_PASS):
        part = slice(start, start + _HISTORIES_A_PASS)
        batch: Batch = trained.collator.query(
            item_GL[part],
            behaviour_GL[part],
            rows.task_R[part],
            query_GQ[part],
            rows.candidate_RC[part, :1],
            texts=texts[part],
        )
        inputs = trained.model.inputs(batch).to(trained.device)
        with _hidden(trained, inputs, None if hidden_G is None else hidden_G[part]):
            score_G[part] = trained.model(inputs, "answers").yes_log_odds_GC[:, 0].float().cpu().numpy()
    return score_G


@contextmanager
def _hidden(trained: TrainedRun, inputs: ModelInput, hidden_G: Int | None) -> Iterator[None]:
    """Meanwhile the soft filters do not see one interaction of each group."""
    if hidden_G is None:
        yield
        return
    model = trained.model
    hidden_G1 = torch.from_numpy(hidden_G).to(trained.device)[:, None]
    tokens = model.shape.model.semantic_history == "tokens"
    handles = []
    for view, module in ((CF, model.cf_filter), (TEXT, model.semantic_filter)):
        kept_GN = _interactions(inputs, view, tokens=tokens) != hidden_G1

        def hide(_: Any, given: tuple[Tensor, ...], kept_GN: Tensor = kept_GN) -> tuple[Tensor, ...]:
            candidate_GCD, history_GND, mask_GN = given
            return candidate_GCD, history_GND, mask_GN & kept_GN

        handles.append(module.register_forward_pre_hook(hide))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _interactions(inputs: ModelInput, view: str, *, tokens: bool) -> Tensor:
    """Interaction of each position of a view's history, int64 [G, N]; any number at padding."""
    batch = inputs.batch
    history: History = inputs.cf_history if view == CF else inputs.semantic_history
    position_N = torch.arange(history.mask_GN.shape[1], device=history.mask_GN.device)
    if view == CF or not tokens:
        return position_N.expand_as(history.mask_GN)
    end_GL = (inputs.title_UT != 0).sum(1)[batch.history_GL].cumsum(1)
    place_GN = torch.searchsorted(end_GL, position_N.expand_as(history.mask_GN).contiguous(), right=True)
    return place_GN.clamp_max(batch.history_GL.shape[1] - 1)
