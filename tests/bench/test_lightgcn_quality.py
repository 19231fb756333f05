"""LightGCN finds as much as stock PyG's training with the same settings, within the noise of three seeds."""

import os
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges, recommendation_edges
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import run_stage
from gensr_dist.stages.stage import PrepareWorkers
from tests.bench import lightgcn_quality
from tests.bench.lightgcn_quality import QualityComparison, compare_quality

SEEDS = (1, 2, 3)
NOISE = 3.0  # standard errors
ROOT = Path(__file__).parents[2]
BEAUTY = Path(os.environ.get("GENSR_AMAZON_BEAUTY", ROOT.parent / "shared" / "data" / "amazon_beauty"))


def tastes(users: int, items: int, groups: int) -> tuple[Edges, Edges]:
    """Each user takes items of its group, popular ones more often, and a few others."""
    rng = np.random.default_rng(0)
    size = items // groups
    popularity = 1.0 / np.arange(1, size + 1) ** 0.5
    keys = []
    for user in range(users):
        own = rng.choice(size, 12, replace=False, p=popularity / popularity.sum()) + user % groups * size
        keys.append(user * items + np.concatenate([own, rng.choice(items, 2)]))
    key_Z = np.unique(np.concatenate(keys))
    held_Z = rng.random(len(key_Z)) < 0.15
    train, valid = (Edges(key_Z=key_Z[chosen], users=users, items=items) for chosen in (~held_Z, held_Z))
    return train, valid


def check(result: QualityComparison) -> None:
    assert abs(result.difference) <= NOISE * result.noise, result


PLANTED = LightGCNConfig(width=16, layers=2, epochs=12, batch=512, learning_rate=0.02)


def test_recall_equals_that_of_stock_pyg_on_planted_tastes() -> None:
    result = compare_quality(*tastes(users=300, items=600, groups=10), PLANTED, SEEDS)
    check(result)
    assert min(result.ours) > 3 * 20 / 600  # chance finds 20 of 600
    assert result.noise < 0.1 * min(result.ours)  # or equality would say nothing


def test_same_draws_give_the_same_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightgcn_quality, "_STOCK", 0)
    result = compare_quality(*tastes(users=300, items=600, groups=10), PLANTED, SEEDS)
    assert result.ours == pytest.approx(result.stock, abs=0.005)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.skipif(not BEAUTY.is_dir(), reason=f"needs Amazon Beauty in {BEAUTY} or $GENSR_AMAZON_BEAUTY")
def test_recall_equals_that_of_stock_pyg_on_amazon_beauty(tmp_path: Path) -> None:
    overrides = [f"run={tmp_path / 'run'}", f"data.raw={BEAUTY}", "data.vocabulary=300"]
    config = load_config(ROOT / "configs" / "amazon_beauty.yaml", overrides)
    run_stage(BY_NAME["prepare"], config, print, PrepareWorkers())
    store = TimelineStore.open(RunFolder.of(config).shards)
    windows = ((window.first_user, window.timelines) for window in store.windows())
    train, valid = recommendation_edges(windows, users=store.users, items=store.items)
    settings = LightGCNConfig(width=32, layers=2, epochs=30, batch=16_384, learning_rate=0.01, l2=1e-3)
    result = compare_quality(train, valid, settings, SEEDS)
    print(result, result.difference, result.noise)
    check(result)
    assert min(result.ours) > 0.05
