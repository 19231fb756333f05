"""USER: sessions, what each token may see, the fusion against loops, planted data."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from gensr_dist.baselines.models.user import sessions
from gensr_dist.baselines.registry import BASELINES
from tests.baselines.builders import small_model
from tests.baselines.layers.checks import softmax
from tests.baselines.planted import FACTS, HOUR, LENGTH, hits_after_training, planted

MINUTE = HOUR // 60


def test_sessions_end_after_30_minutes_without_an_event() -> None:
    time_GL = torch.tensor([[100, 130, 161], [100, 101, 0], [0, 0, 0]]) * MINUTE
    now_G = torch.tensor([162, 140, 9]) * MINUTE
    found_GX = sessions(time_GL, now_G, torch.tensor([3, 2, 0]))
    assert found_GX.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]


@torch.no_grad()
def test_a_query_and_its_item_are_fused_by_co_attention() -> None:
    model = small_model("user", FACTS, history=LENGTH).double()
    batch = planted("past query", 4, seed=1)
    batch = replace(
        batch,
        query_KQ=torch.nn.functional.pad(batch.query_KQ, (0, 2)),
        title_UT=torch.randint(0, 5, batch.title_UT.shape, generator=torch.Generator().manual_seed(1)),
    )
    batch.query_KQ[1:, 1] = 3
    title_UTD, item_UD = model.words(batch.title_UT), model.items(batch)
    found_GLD = model._history(batch, item_UD, title_UTD)
    layer = model.co_attention
    for g in range(4):
        for place in range(LENGTH):
            item_D, query = item_UD[batch.history_GL[g, place]], int(batch.history_query_GL[g, place])
            if not query:
                torch.testing.assert_close(found_GLD[g, place], item_D + model.type_3D[1])
                continue
            asked = [model.words.weight[word] for word in batch.query_KQ[query] if word]
            told = [model.words.weight[word] for word in batch.title_UT[batch.history_GL[g, place]] if word]
            told = [item_D, *told]
            affinity = [[(a @ layer.affinity_DD @ t).tanh() for t in told] for a in asked]
            for_asked = [
                sum(layer.of_second_D @ t * affinity[n][m] for m, t in enumerate(told)) for n in range(len(asked))
            ]
            for_told = [
                sum(layer.of_first_D @ a * affinity[n][m] for n, a in enumerate(asked)) for m in range(len(told))
            ]
            parts = [
                sum(weight * each for weight, each in zip(softmax(logits), vectors, strict=True))
                for logits, vectors in ((for_asked, asked), (for_told, told))
            ]
            torch.testing.assert_close(found_GLD[g, place], model.fuse(torch.cat(parts)) + model.type_3D[2])


@torch.no_grad()
def test_what_is_fused_differs_before_anything_is_learnt() -> None:
    torch.manual_seed(0)
    model: Any = BASELINES["user"].build(BASELINES["user"].settings(), FACTS)
    batch = planted("past query", 64, seed=1)
    token_GLD = model._history(batch, model.items(batch), model.words(batch.title_UT))
    fused_PD = token_GLD[batch.history_query_GL > 0] - model.type_3D[2]
    assert (fused_PD - fused_PD.mean(0)).norm(dim=1).mean() > 2 * fused_PD.mean(0).norm()


@torch.no_grad()
def test_a_moment_long_ago_does_not_reach_the_session() -> None:
    """Without the history's view, only events of the current session matter."""
    model = small_model("user", FACTS, history=LENGTH)
    model.weight_3[2] = 0.0
    batch = planted("last item", 6, seed=1)
    batch = replace(batch, time_GL=batch.time_GL.clone())
    batch.time_GL[:, -1] = batch.now_G - MINUTE
    changed = replace(batch, history_GL=batch.history_GL.clone())
    changed.history_GL[:, :-1] = changed.history_GL[:, :-1] % len(FACTS.popularity_I) + 1
    torch.testing.assert_close(model.score(changed), model.score(batch))
    changed.history_GL[:, -1] = changed.history_GL[:, -1] % len(FACTS.popularity_I) + 1
    assert not torch.allclose(model.score(changed), model.score(batch))


@pytest.mark.parametrize("clue", ["past query", "last item", "query"])
def test_it_learns(clue: str) -> None:
    assert hits_after_training("user", clue, until=0.9) > 0.9
