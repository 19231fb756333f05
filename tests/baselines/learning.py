"""How much a model learns of rows in which it is known what tells the answer."""

from collections.abc import Callable

import torch
from torch import Tensor

from gensr_dist.baselines.contract import Baseline
from gensr_dist.data.batches.batch import ContextBatch

_STEPS, _LOOK_EVERY = 200, 20


def share_after_training(
    model: Baseline,
    loss_of_step: Callable[[int], Tensor],
    fresh: ContextBatch,
    *,
    learning_rate: float,
    until: float,
) -> float:
    """Share of fresh rows whose positive is above all others: after 200 steps, or more than `until`.

    Args:
        model: with new weights.
        loss_of_step: its loss of the step's rows.
        fresh: rows that it is not trained on.
        learning_rate: of AdamW.
        until: a share that is enough, looked for every 20 steps; 1: only the last counts.
    """
    model.train()
    optimizer, share = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0), 0.0
    for step in range(1, _STEPS + 1):
        optimizer.zero_grad()
        loss_of_step(step - 1).backward()
        optimizer.step()
        if step == _STEPS or (until < 1 and step % _LOOK_EVERY == 0):
            with torch.no_grad():
                score_GC = model.eval().score(fresh)
            share = float((score_GC[:, :1] > score_GC[:, 1:]).all(1).double().mean())
            if share > until:
                break
            model.train()
    return share
