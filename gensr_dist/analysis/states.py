"""What happens inside GenSR and inside its peer while they answer: inputs, filtered histories, states, log-odds.

Dimensions: R rows, C candidates, X = R x C examples in the order of the rows, G groups, P rows of a pass, S context
tokens, B block tokens, D width of the answering model, F width of filtered histories, E width of a CF vector.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from gensr_dist.analysis.subject import OpenedPeer
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.tensors import map_tensors
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.model.prompt_layout import PromptLayout
from gensr_dist.runs.trained_run import TrainedRun

_ROWS_A_PASS = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class States:
    """One value an example: a row with one of its candidates."""

    input_XD: Floats  # the pooled embedded input that the answer is made from
    filtered_XF: Floats  # [f_cf, f_sem] of the soft filters (eq. 6); of a peer [X, 0]
    hidden_XD: Floats  # the state that the answer's logits are made of
    shared_XD: Floats  # what the last part that both tasks share gives; of GenSR the same as `hidden_XD`
    log_odds_X: Floats  # of Yes, or of a click

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All parts in order."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@torch.no_grad()
def states_of_gensr(trained: TrainedRun, rows: EvalRows) -> States:
    """States of every candidate of rows of one task.

    The input is what enters T5's encoder: the mean over the embedded tokens and slots of the candidate's prompt
    (eq. 7), its context among them. The hidden state is the decoder's at its first position, scaled as the head reads
    it.
    """
    model = trained.model
    watched = {"cf": model.cf_filter, "text": model.semantic_filter, "t5": model.backbone}
    watched |= {"head": model.backbone.t5.lm_head}
    parts = []
    for chunk in _chunks(rows):
        inputs = model.inputs(trained.collator.evaluation(chunk)).to(trained.device)
        with _seen(watched) as seen:
            output = model(inputs, "answers")
        context_RSD, block_GCBD, _, layout, _ = seen["t5"].inputs
        hidden_XD = _rows_of(seen["head"].inputs[0])
        filtered = (seen["cf"].output, seen["text"].output)
        parts.append(
            States(
                input_XD=_rows_of(_pooled_prompt(context_RSD, block_GCBD, layout)),
                filtered_XF=_rows_of(torch.cat(filtered, -1)),
                hidden_XD=hidden_XD,
                shared_XD=hidden_XD,
                log_odds_X=output.yes_log_odds_GC.float().flatten().cpu().numpy(),
            )
        )
    return States.joined(parts)


@torch.no_grad()
def states_of_peer(opened: OpenedPeer, rows: EvalRows) -> States:
    """States of every candidate of rows of one task.

    The input is what enters the task heads' shared encoder (of UniSAR both interests, the candidate, the user and the
    query); the hidden state is what the last layer of the task's own head reads; the shared state what the encoder's
    mixture of experts gives the task.

    Args:
        opened: the peer.
        rows: with the candidates that are wanted, of one task.
    """
    task = int(rows.task_R[0])
    second = int(task == 1)
    networks = opened.networks
    last: nn.Module = networks.towers[second][-1].layers[-1]  # type: ignore[index]
    parts = []
    for chunk in _chunks(rows):
        batch = opened.collator.evaluation(chunk)
        assert isinstance(batch, ContextBatch)
        on_device = map_tensors(batch, lambda tensor: tensor.to(opened.ranks.device))
        with _seen({"networks": networks, "experts": networks.experts, "last": last}) as seen:
            logit_GC = opened.model.score(on_device)
        parts.append(
            States(
                input_XD=_rows_of(seen["networks"].inputs[0]),
                filtered_XF=np.zeros((logit_GC.numel(), 0), dtype=np.float32),
                hidden_XD=_rows_of(seen["last"].inputs[0]),
                shared_XD=_rows_of(seen["experts"].output[second]),
                log_odds_X=logit_GC.float().flatten().cpu().numpy(),
            )
        )
    return States.joined(parts)


@dataclass
class _Call:
    """The last call of a module."""

    inputs: tuple[Any, ...] = ()
    output: Any = None


@contextmanager
def _seen(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, _Call]]:
    """What goes into modules and comes out of them meanwhile."""
    calls = {name: _Call() for name in modules}

    def watch(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        calls[name].inputs, calls[name].output = inputs, output

    handles = [
        module.register_forward_hook(lambda _, inputs, output, name=name: watch(name, inputs, output))
        for name, module in modules.items()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _pooled_prompt(context_RSD: Tensor, block_GCBD: Tensor, layout: PromptLayout) -> Tensor:
    """Mean over the tokens of each candidate's prompt [G, C, D]."""
    if layout.contexts is not None:
        context_GS1 = layout.context_mask_RS[layout.request_G][..., None]
        block_GCB1 = layout.own_mask_GCN[..., None]
    else:  # joint scoring: a candidate's own tokens are the context's and the block's
        S = context_RSD.shape[1]
        context_GS1 = layout.own_mask_GCN[:, 0, :S, None]
        block_GCB1 = layout.own_mask_GCN[:, :, S:, None]
    context_GSD = context_RSD[layout.request_G] * context_GS1
    tokens_GC = context_GS1.sum((1, 2))[:, None] + block_GCB1.sum((2, 3))
    total_GCD = context_GSD.sum(1)[:, None] + (block_GCBD * block_GCB1).sum(2)
    return total_GCD / tokens_GC[..., None].clamp_min(1)


def _chunks(rows: EvalRows) -> Iterator[EvalRows]:
    for start in range(0, len(rows), _ROWS_A_PASS):
        yield rows.take(np.arange(start, min(start + _ROWS_A_PASS, len(rows))))


def _rows_of(value_GCD: Tensor) -> Floats:
    flat: Floats = value_GCD.float().flatten(0, 1).cpu().numpy()
    return flat
