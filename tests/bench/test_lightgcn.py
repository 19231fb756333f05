"""The benchmark of LightGCN at a size of seconds."""

import dataclasses
import json

import numpy as np
import pytest

from gensr_dist.bench import interleaved
from gensr_dist.bench.lightgcn import GraphSize, bench_lightgcn, random_edges
from gensr_dist.errors import InputError
from tests.bench.forked_commands import FORKED

KEYS = {"stock_s_per_step", "ours_s_per_step", "ours_2_ranks_s_per_step", "ratio", "peak_gb"}
SMALL = {"edges": 1_000, "width": 4, "layers": 2, "batch": 64}


@pytest.fixture(autouse=True)
def libraries_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """That processes can be spawned: test_speed."""
    monkeypatch.setattr(interleaved, "multiprocessing", FORKED)


def test_all_variants_are_interleaved():
    result = bench_lightgcn(GraphSize(users=150, items=150, **SMALL), rounds=3)
    values = json.loads(json.dumps(dataclasses.asdict(result)))
    assert values.keys() >= KEYS
    assert all(values[key] > 0 for key in KEYS)
    assert values["ratio_min"] <= values["ratio"] <= values["ratio_max"]
    assert values["idle_gb"] <= values["peak_gb"] < 5
    assert (values["users"], values["items"], values["edges"]) == (150, 150, 1_000)


def test_ours_alone():
    result = bench_lightgcn(GraphSize(users=20, items=280, **SMALL), rounds=3, stock=False)
    assert result.stock_s_per_step is None
    assert result.ratio is None
    assert result.ours_s_per_step > 0
    assert result.ours_2_ranks_s_per_step > 0
    assert (result.users, result.items) == (20, 280)


@pytest.mark.parametrize("count", [0, 1, 999, 1_000])
def test_random_edges_are_as_many_as_asked_for(count):
    edges = random_edges(40, 50, count, seed=1)
    assert len(edges) == count
    assert (np.diff(edges.key_Z) > 0).all()
    assert count == 0 or (edges.key_Z[0] >= 0 and edges.key_Z[-1] < 2_000)
    if count > 900:
        assert edges.item_Z.min() == 0  # none is left out by construction
        assert edges.user_Z.max() == 39


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((500, 500, 1_000_000), "--edges: 1,000,000 of the 250,000 pairs of 500 users and 500 items"),
        ((500, 500, 125_001), "--edges: 125,001 of the 250,000 pairs"),
        ((2_000, -1_000, 100), "--users: 2,000 of 1,000 nodes, expected 1 to 999; lower it or raise --nodes"),
        ((1_000, 0, 100), "--users: 1,000 of 1,000 nodes, expected 1 to 999; lower it or raise --nodes"),
        ((0, 1_000, 100), "--users: 0 of 1,000 nodes, expected 1 to 999"),
    ],
)
def test_graphs_that_cannot_be_drawn_are_refused_before_any_process_starts(sizes, message):
    users, items, edges = sizes
    with pytest.raises(InputError) as error:
        bench_lightgcn(GraphSize(users=users, items=items, edges=edges), rounds=1)
    assert str(error.value).startswith(message)
