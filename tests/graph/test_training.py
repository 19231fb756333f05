"""LightGCN training: what it may look at, what it keeps, and that it repeats."""

import dataclasses

import numpy as np
import pytest
import torch

from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import COLUMNS, Timelines
from gensr_dist.errors import InputError
from gensr_dist.graph.batches import EdgeBatches
from gensr_dist.graph.cross_fitting import train_lightgcn
from gensr_dist.graph.edges import Edges, recommendation_edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.recall import CatalogueRecall
from gensr_dist.storage.records import read_json
from tests.graph.builders import CONFIG, ITEMS, USERS, train, two_tastes
from tests.timelines import timelines_of_columns


def test_learns_planted_tastes_and_records_what_it_did(tmp_path):
    tags = []

    class Writer:
        def add_scalar(self, tag, scalar_value, global_step):
            tags.append((tag, global_step))

    result, items, users = train(tmp_path / "cf", writer=Writer())
    score = users @ items.T
    own = np.arange(ITEMS)[None] // (ITEMS // 2) == np.arange(USERS)[:, None] % 2
    touched = np.abs(items).sum(1) > 0
    auc = np.mean([np.mean(score[u, own[u] & touched][:, None] > score[u, ~own[u] & touched]) for u in range(USERS)])
    assert auc > 0.95
    assert result.untouched_items == 2
    assert (items[[ITEMS // 2 - 1, ITEMS - 1]] == 0).all()
    assert result.untouched_users == 0
    assert result.edges == USERS * 10
    assert result.recall_at_20 == max(value for _, value in result.recall_curve) > 0.5
    assert ("lightgcn/loss", 1) in tags
    assert ("lightgcn/recall@20", 3) in tags
    record = read_json(tmp_path / "cf" / "lightgcn.json", "")
    assert record["settings"]["layers"] == 2
    assert record["result"]["untouched_items"] == 2
    assert {path.name for path in (tmp_path / "cf").iterdir()} == {"items.npy", "users.npy", "lightgcn.json"}


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(tmp_path / name, seed=seed)
    assert (tmp_path / "a/items.npy").read_bytes() == (tmp_path / "b/items.npy").read_bytes()
    assert (tmp_path / "a/users.npy").read_bytes() == (tmp_path / "b/users.npy").read_bytes()
    assert (tmp_path / "a/items.npy").read_bytes() != (tmp_path / "c/items.npy").read_bytes()


def test_only_positive_recommendation_training_events_make_the_graph(tmp_path):
    """Test events, searches and exposures may change at will; validation events only decide when to stop."""
    config = dataclasses.replace(CONFIG, epochs=4, validate_every=4)
    base = two_tastes()
    other = two_tastes(seed=9)
    held_N = base.split_N != Split.TRAIN
    shuffled = dataclasses.replace(base, item_N=np.where(held_N, other.item_N, base.item_N))

    def with_extra(timelines, **changes):
        first = {name: getattr(timelines, name).reshape(USERS, -1) for name in COLUMNS}
        extra = {name: np.concatenate([rows[:, :1], rows], axis=1) for name, rows in first.items()}
        for name, value in changes.items():
            extra[name][:, 0] = value
        return Timelines(
            user_start_V=np.arange(USERS + 1) * extra["item_N"].shape[1],
            **{name: rows.ravel() for name, rows in extra.items()},
        )

    _, items, users = train(tmp_path / "base", timelines=base, config=config)
    for name, timelines in {
        "held": shuffled,
        "search": with_extra(base, item_N=ITEMS - 1, behaviour_N=Behaviour.SEARCH),
        "shown": with_extra(base, item_N=ITEMS - 1, positive_N=False),
        "twice": with_extra(base),
    }.items():
        result, other_items, other_users = train(tmp_path / name, timelines=timelines, config=config)
        assert result.edges == USERS * 10
        np.testing.assert_array_equal(items, other_items)
        np.testing.assert_array_equal(users, other_users)


def test_without_validation_events_the_last_epoch_is_kept(tmp_path):
    base = two_tastes()
    no_valid = dataclasses.replace(base, split_N=np.where(base.split_N == Split.VALID, Split.TEST, base.split_N))
    result, items, _ = train(tmp_path / "cf", timelines=no_valid)
    assert result.recall_at_20 is None
    assert result.best_epoch == result.epochs == CONFIG.epochs
    assert np.isfinite(items).all()


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=200, validate_every=1, patience=3, learning_rate=0.05)
    result, _, _ = train(tmp_path / "cf", config=config)
    assert result.epochs == result.best_epoch + 3
    assert result.recall_at_20 == dict(result.recall_curve)[result.best_epoch]


def test_no_training_edge_and_divergence_are_input_errors(tmp_path):
    base = two_tastes()
    with pytest.raises(InputError, match="no positive recommendation event"):
        train(tmp_path / "cf", timelines=dataclasses.replace(base, behaviour_N=np.ones_like(base.behaviour_N)))
    with pytest.raises(InputError, match=r"lightgcn\.learning_rate: the loss is"):
        train(tmp_path / "cf", config=dataclasses.replace(CONFIG, learning_rate=1e30))
    assert not (tmp_path / "cf").exists()
    assert not list(tmp_path.iterdir())


def test_windows_of_the_log_make_the_graph_of_the_whole(tmp_path):
    whole = two_tastes()
    windows = []
    for first, end in ((0, 7), (7, 8), (8, USERS)):
        windows.append((first, whole.of_users(first, end)))
    expected = recommendation_edges([(0, whole)], users=USERS, items=ITEMS)
    for edges, known in zip(recommendation_edges(windows, users=USERS, items=ITEMS), expected, strict=True):
        np.testing.assert_array_equal(edges.key_Z, known.key_Z)
        assert (np.diff(edges.key_Z) > 0).all()
    train_N = whole.split_N == Split.TRAIN
    assert set(expected[0].key_Z) == set(whole.user_N[train_N] * ITEMS + whole.item_N[train_N])


def test_every_edge_once_an_epoch_in_an_order_that_changes():
    rng = np.random.default_rng(0)
    edges = Edges(key_Z=np.unique(rng.integers(0, 50 * 30, 600)), users=50, items=30)
    batches = EdgeBatches(edges, 64, seed=5)
    epochs = []
    for epoch in (1, 2):
        steps = list(batches.epoch(epoch))
        assert len(steps) == batches.steps
        keys = [user * 30 + positive for user, positive, _ in steps]
        np.testing.assert_array_equal(np.sort(np.concatenate(keys)), edges.key_Z)
        for user, _, negative in steps:
            assert not edges.contain(user, negative).any()
        for resumed, given in zip(batches.epoch(epoch, first_step=3), steps[3:], strict=True):
            np.testing.assert_array_equal(resumed, given)
        epochs.append(steps)
    assert len(set(epochs[0][0][0] * 30 + epochs[0][0][1]) & set(epochs[1][0][0] * 30 + epochs[1][0][1])) < 32


def test_negatives_are_never_edges_even_for_users_who_met_nearly_everything():
    items = 50
    key_Z = np.concatenate([np.arange(items - 1), items + np.arange(0, items, 2)])  # user 0 lacks only the last item
    edges = Edges(key_Z=key_Z, users=3, items=items)
    user_B = np.repeat([0, 1, 2], 400)
    negative_B = edges.sample_negatives(user_B, np.random.default_rng(0))
    assert (negative_B[user_B == 0] == items - 1).all()
    assert set(negative_B[user_B == 1]) == set(range(1, items, 2))
    assert set(negative_B[user_B == 2]) == set(range(items))


def test_a_user_who_met_everything_does_not_stop_training(tmp_path):
    timelines = timelines_of_columns(2, [0, 0, 0, 1, 1], item_N=[0, 1, 2, 0, 1])
    result = train_lightgcn([(0, timelines)], 2, 3, CONFIG, 0, tmp_path / "cf", tmp_path / "checkpoint")
    assert result.edges == 5


def test_recall_equals_brute_force(monkeypatch):
    monkeypatch.setattr("gensr_dist.graph.recall.SCORES_AT_ONCE", 500)  # many chunks
    rng = np.random.default_rng(0)
    users, items = 40, 90
    train_keys = np.unique(rng.integers(0, 30 * items, 300))  # users 30.. have no training edge
    valid_keys = np.unique(np.concatenate([rng.integers(0, users * items, 200), train_keys[:20]]))
    out = rng.normal(size=(users + items, 6)).astype(np.float32)
    recall = CatalogueRecall(
        Edges(key_Z=train_keys, users=users, items=items),
        Edges(key_Z=valid_keys, users=users, items=items),
        0,
        ColumnRanks(),
    )
    shares = []
    for user in range(users):
        known = {key % items for key in train_keys if key // items == user}
        wanted = {key % items for key in valid_keys if key // items == user} - known
        if known and wanted:
            order = [i for i in np.argsort(-(out[users:] @ out[user])) if i not in known][:20]
            shares.append(len(wanted & set(order)) / len(wanted))
    assert recall(torch.from_numpy(out)) == pytest.approx(np.mean(shares))
