"""Histories of which the newest item tells the next one, half of the time: models that read an order find it out."""

import numpy as np
import pytest
import torch

from gensr_dist.baselines.registry import BASELINES
from tests.baselines.builders import small_settings
from tests.baselines.models.hand_made import ITEMS, hand_facts, hand_rows, hand_sequences

L, SEQUENCES = 5, 64
READ_SEQUENCES = ["sasrec", "gru4rec", "bert4rec", "hstu"]
FOLLOWS = np.random.default_rng(0).permutation(ITEMS)  # item by item


def walks(random: np.random.Generator, count: int, length: int) -> list[list[int]]:
    """Slots; each item is the one that follows, or by chance any other."""
    item_S = random.integers(0, ITEMS, count)
    steps = [item_S]
    for _ in range(length - 1):
        item_S = np.where(random.random(count) < 0.5, FOLLOWS[item_S], random.integers(0, ITEMS, count))
        steps.append(item_S)
    return (1 + np.stack(steps, axis=1)).tolist()


@pytest.mark.parametrize("name", [*READ_SEQUENCES, "fmlp"])
def test_the_newest_item_tells_the_next(name: str) -> None:
    """In one of 12 cases by chance."""
    torch.manual_seed(0)
    # One that looks both ways stands still at first, and with a second block for longer.
    settings = small_settings(name, width=16, history=L, layers=1, rho=0.2, last_share=0.3)
    model = BASELINES[name].build(settings, hand_facts()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    random = np.random.default_rng(1)
    for _ in range(600 if name == "bert4rec" else 250):
        optimizer.zero_grad()
        found = walks(random, SEQUENCES, L + 1)
        if name in READ_SEQUENCES:
            shared = random.permutation(ITEMS)[:6] + 1
            batch = hand_sequences(found, L, shared=shared.tolist())
        else:
            rows = [[walk[-1], *random.integers(1, ITEMS + 1, 2).tolist()] for walk in found]
            batch = hand_rows([walk[:-1] for walk in found], rows, L)
        model(batch).total.backward()
        optimizer.step()
    unseen = [walk[: 1 + number % L] for number, walk in enumerate(walks(random, 200, L))]
    with torch.no_grad():
        score_GI = model.eval().score(hand_rows(unseen, [list(range(1, ITEMS + 1))] * len(unseen), L))
    right = score_GI.argmax(1).numpy() == FOLLOWS[[walk[-1] - 1 for walk in unseen]]
    assert right.mean() > 0.4
