"""DIN against loops in float64."""

import pytest
import torch
from torch import Tensor

from gensr_dist.baselines.models import din as module
from gensr_dist.baselines.models.din import DIN, DINSettings
from tests.baselines.layers.checks import assert_close, assert_trains, dense, learnt, norm, softmax
from tests.baselines.models.hand_made import D, hand_facts, hand_rows, sigmoid

L = 4
HISTORIES = [[], [3], [5, 1, 8], [2, 7, 2, 11]]
CANDIDATES = [[4, 9, 2], [4, 9, 3], [1, 6, 5], [12, 2, 10]]
every_form = pytest.mark.parametrize("changes", [{}, {"weights": "raw"}, {"titles": False}])


def din(**changes: object) -> DIN:
    return learnt(DIN(DINSettings(**{"width": D, "history": L, **changes}), hand_facts()))


def gate(model: DIN, k_K: Tensor, h_K: Tensor) -> Tensor:
    layers = model.attention
    hidden = sigmoid(dense(layers.first, torch.cat([k_K, h_K, k_K - h_K, k_K * h_K])))
    return dense(layers.rest[3], sigmoid(dense(layers.rest[1], hidden)))[0]


@every_form
@torch.no_grad()
def test_matches_the_loops(changes: dict[str, object]) -> None:
    model = din(**changes)
    batch = hand_rows(HISTORIES, CANDIDATES, L)
    found_GC = model.score(batch)

    def vector(slot: int) -> Tensor:
        item_D = model.items.table.weight[slot - 1]
        if model.words is None:
            return item_D
        words = [model.words.weight[word] for word in batch.title_UT[slot].tolist() if word]
        mean_D = sum(words) / len(words) if words else torch.zeros(D, dtype=torch.float64)
        return torch.cat([item_D, mean_D])

    for g, history in enumerate(HISTORIES):
        for c, slot in enumerate(CANDIDATES[g]):
            k_K = vector(slot)
            weights = [gate(model, k_K, vector(clicked)) for clicked in history]
            if model.attention.weights == "softmax" and weights:
                weights = softmax([weight / len(k_K) ** 0.5 for weight in weights])
            v_K = sum((w * vector(s) for w, s in zip(weights, history, strict=True)), torch.zeros_like(k_K))
            hidden = sigmoid(dense(model.head[0], norm(model.norm, torch.cat([v_K, k_K, v_K * k_K]))))
            hidden = sigmoid(dense(model.head[2], hidden))
            assert_close(found_GC[g, c], dense(model.head[4], hidden)[0] + model.bias_I[slot - 1])


@every_form
@torch.no_grad()
def test_the_order_of_a_history_does_not_matter(changes: dict[str, object]) -> None:
    model = din(**changes)
    found_1C = model.score(hand_rows([[2, 7, 9, 11]], [[12, 3]], L))
    assert_close(model.score(hand_rows([[9, 2, 11, 7]], [[12, 3]], L)), found_1C)


@torch.no_grad()
def test_raw_weights_tell_how_much_there_is() -> None:
    """The same interaction twice: its mean stays, its sum does not."""
    once, twice = hand_rows([[2]], [[12, 3]], L), hand_rows([[2, 2]], [[12, 3]], L)
    assert_close(din().score(once), din().score(twice))
    raw = din(weights="raw")
    assert not torch.allclose(raw.score(once), raw.score(twice))


@torch.no_grad()
def test_some_candidates_at_a_time_score_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = hand_rows(HISTORIES, CANDIDATES, L)
    whole_GC = din().score(batch)
    monkeypatch.setattr(module, "_PAIRS", 2 * len(HISTORIES) * L)
    assert_close(din().score(batch), whole_GC)


def test_every_weight_trains() -> None:
    model = din()
    losses = model(hand_rows(HISTORIES, CANDIDATES, L))
    assert_trains(model, losses.total[None], "rest.3.bias")  # the same for all: softmax does not see it
