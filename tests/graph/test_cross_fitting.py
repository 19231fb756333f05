"""LightGCN without each fold of the users: what it may know of them, and that an interrupt changes nothing."""

import dataclasses
import gc
import os
import weakref

import numpy as np
import pytest
import torch

from gensr_dist.data.cf_vectors import load_cf
from gensr_dist.data.folds import fold_of_users
from gensr_dist.data.item_vectors import WHOLE
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.graph.cross_fitting import train_lightgcn
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.graphs import Graphs
from gensr_dist.graph.leak import Leak
from gensr_dist.graph.procrustes import ProcrustesAlignment
from gensr_dist.graph.trainer import ColumnTrainer
from gensr_dist.storage.records import read_json
from tests.forked_ranks import started
from tests.graph.builders import CONFIG, ITEMS, USERS, interrupted, step, train, two_tastes, without_seconds

SEED = 3  # of `train`
FOLDED = dataclasses.replace(CONFIG, folds=2, epochs=4, checkpoint_minutes=0.0)
FOLD_V = fold_of_users(np.arange(USERS), 2, SEED)


@pytest.fixture
def unturned(monkeypatch):
    none = classmethod(lambda cls, goal_IE, _: cls(np.eye(goal_IE.shape[1]), 1.0))
    monkeypatch.setattr(ProcrustesAlignment, "onto", none)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def with_other_items(fold):
    """The log where the users of one fold do something else."""
    base, other = two_tastes(), two_tastes(seed=9)
    changed_N = FOLD_V[base.user_N] == fold
    return dataclasses.replace(base, item_N=np.where(changed_N, other.item_N, base.item_N))


@pytest.mark.parametrize("fold", [0, 1])
def test_vectors_without_a_fold_do_not_depend_on_what_its_users_do(tmp_path, unturned, fold):
    _, items, _ = train(tmp_path / "base" / "cf", config=FOLDED)
    _, other_items, _ = train(tmp_path / "other" / "cf", config=FOLDED, timelines=with_other_items(fold))
    base, other = (load_cf(tmp_path / name / "cf", folds=True)[0] for name in ("base", "other"))
    assert np.array_equal(base.without_fold[fold], other.without_fold[fold])
    assert not np.array_equal(base.without_fold[1 - fold], other.without_fold[1 - fold])
    assert not np.array_equal(items, other_items)
    assert base.without_fold[fold].any()


def test_a_fold_is_trained_on_the_edges_of_the_others(tmp_path, unturned):
    """As if the log had no other training events."""
    train(tmp_path / "folds" / "cf", config=FOLDED)
    vectors, _ = load_cf(tmp_path / "folds" / "cf", folds=True)
    base = two_tastes()
    for fold in range(2):
        kept_N = FOLD_V[base.user_N] != fold
        timelines = dataclasses.replace(base, positive_N=base.positive_N & kept_N)
        _, items, _ = train(
            tmp_path / f"alone{fold}" / "cf", timelines=timelines, config=dataclasses.replace(FOLDED, folds=0)
        )
        assert np.array_equal(vectors.without_fold[fold], items)


def test_the_whole_graph_s_vectors_are_those_of_a_training_without_folds(tmp_path):
    result, items, users = train(tmp_path / "folds" / "cf", config=FOLDED)
    alone, alone_items, alone_users = train(tmp_path / "alone" / "cf", config=dataclasses.replace(FOLDED, folds=0))
    np.testing.assert_array_equal(items, alone_items)
    np.testing.assert_array_equal(users, alone_users)
    assert without_seconds(dataclasses.replace(result, without_fold=())) == without_seconds(alone)


def test_tables_of_folds_are_turned_onto_the_whole_and_recorded(tmp_path):
    result, items, _ = train(tmp_path / "cf", config=FOLDED)
    vectors, _ = load_cf(tmp_path / "cf", folds=True)
    assert (vectors.folds, vectors.seed) == (2, SEED)
    assert [len(files(tmp_path / "cf")), (tmp_path / "checkpoint").exists()] == [4, False]
    record = read_json(tmp_path / "cf" / "lightgcn.json", "")
    assert record["settings"]["folds"] == len(record["result"]["without_fold"]) == 2
    assert sum(graph.edges for graph in result.without_fold) == result.edges
    for fold, graph in enumerate(result.without_fold):
        assert graph.edges == np.count_nonzero(fold != FOLD_V) * 10
        assert graph.untouched_users == np.count_nonzero(fold == FOLD_V)
        assert graph.validated_users == np.count_nonzero(fold != FOLD_V)
        table_IE = vectors.without_fold[fold]
        both_I = table_IE.any(axis=1) & items.any(axis=1)
        assert np.mean(table_IE[both_I] ** 2) == pytest.approx(np.mean(items[both_I] ** 2), rel=1e-4)
        again = ProcrustesAlignment.onto(items, np.array(table_IE))
        np.testing.assert_allclose(again.rotation_EE, np.eye(CONFIG.width), atol=1e-4)
        assert again.scale == pytest.approx(1, abs=1e-4)
        assert graph.untouched_items == (~table_IE.any(axis=1)).sum() >= 2


def test_summary_names_every_training(tmp_path):
    result, _, _ = train(tmp_path / "cf", config=FOLDED)
    first, second = result.lines()
    assert first.startswith("trained 4 epochs on 600 edges")
    assert second.startswith("with 2 more trainings, each without a part of the users; best recall@20 ")


def total_steps(config):
    graphs = Graphs.of_windows([(0, two_tastes())], users=USERS, items=ITEMS, folds=config.folds, seed=SEED)
    return [config.epochs * -(-graphs.edges(fold) // config.batch) for fold in graphs.names]


@pytest.mark.parametrize("kill", range(6))
def test_a_stage_interrupted_anywhere_gives_the_same_bytes(tmp_path, monkeypatch, kill):
    """Twice, at random steps of any training."""
    total = sum(total_steps(FOLDED))
    first, second = np.sort(np.random.default_rng(kill).choice(np.arange(1, total), 2, replace=False)).tolist()
    whole, _, _ = train(tmp_path / "whole" / "cf", config=FOLDED)
    interrupted(tmp_path / "cf", monkeypatch, first, FOLDED)
    interrupted(tmp_path / "cf", monkeypatch, second - first, FOLDED)
    assert not (tmp_path / "cf").exists()
    counted = []
    monkeypatch.setattr(ColumnTrainer, "step", lambda self, *batch: counted.append(1) or step(self, *batch))
    resumed, _, _ = train(tmp_path / "cf", config=FOLDED)
    assert len(counted) == total - second
    assert without_seconds(resumed) == without_seconds(whole)
    assert files(tmp_path / "cf") == files(tmp_path / "whole" / "cf")
    assert not (tmp_path / "checkpoint").exists()


def killed(folder, steps):
    torch.set_num_threads(1)
    done = iter(range(steps))
    ColumnTrainer.step = lambda self, *batch: step(self, *batch) if next(done, None) is not None else os._exit(9)
    train(folder, config=FOLDED)


def test_a_killed_stage_goes_on_from_the_fold_that_it_was_at(tmp_path):
    train(tmp_path / "whole" / "cf", config=FOLDED)
    steps = sum(total_steps(FOLDED)[:2]) + 3
    process = started(killed, tmp_path / "cf", steps)
    process.join()
    assert process.exitcode == 9
    kept = {path.name: sorted(file.name for file in path.iterdir()) for path in (tmp_path / "checkpoint").iterdir()}
    assert kept.keys() == {"whole", "without_0", "without_1"}
    for name in ("whole", "without_0"):  # no table but the best vectors
        assert [file.split("_")[0] for file in kept[name]] == ["best", "finished.json"]
    assert kept["without_1"] == ["step_00000003"]
    train(tmp_path / "cf", config=FOLDED)
    assert files(tmp_path / "cf") == files(tmp_path / "whole" / "cf")


@pytest.mark.parametrize("without_validation", [False, True])
def test_finished_trainings_end_at_once(tmp_path, monkeypatch, without_validation):
    base = two_tastes()
    split_N = np.where(base.split_N == Split.VALID, Split.TEST, base.split_N) if without_validation else base.split_N
    timelines = dataclasses.replace(base, split_N=split_N)
    expected, _, _ = train(tmp_path / "whole" / "cf", config=FOLDED, timelines=timelines)

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gensr_dist.graph.cross_fitting.save_cf", fails)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cf", config=FOLDED, timelines=timelines)
    with monkeypatch.context() as patch:
        patch.setattr("gensr_dist.graph.training.ColumnTrainer", fails)  # not even made
        result, _, _ = train(tmp_path / "cf", config=FOLDED, timelines=timelines)
    assert without_seconds(result) == without_seconds(expected)
    assert files(tmp_path / "cf") == files(tmp_path / "whole" / "cf")


def test_starting_anew_forgets_finished_trainings(tmp_path, monkeypatch):
    interrupted(tmp_path / "cf", monkeypatch, sum(total_steps(FOLDED)[:2]) + 1, FOLDED)
    counted = []
    monkeypatch.setattr(ColumnTrainer, "step", lambda self, *batch: counted.append(1) or step(self, *batch))
    train(tmp_path / "cf", config=FOLDED, resume=False)
    assert len(counted) == sum(total_steps(FOLDED))


def test_checkpoints_of_other_folds_settings_or_edges_are_refused(tmp_path, monkeypatch):
    interrupted(tmp_path / "cf", monkeypatch, sum(total_steps(FOLDED)[:2]) + 1, FOLDED)
    with pytest.raises(InputError, match=r"other settings.*: folds was 2 and is 3; delete .*checkpoint to start"):
        train(tmp_path / "cf", config=dataclasses.replace(FOLDED, folds=3))
    with pytest.raises(InputError, match=r"l2 was 0\.001 and is 0\.5"):
        train(tmp_path / "cf", config=dataclasses.replace(FOLDED, l2=0.5))
    with pytest.raises(InputError, match="training edges was"):
        train(tmp_path / "cf", config=FOLDED, timelines=with_other_items(0))
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "without_0").rename(checkpoint / "kept")
    (checkpoint / "without_1").rename(checkpoint / "without_0")
    with pytest.raises(InputError, match="graph was without_1 and is without_0"):
        train(tmp_path / "cf", config=FOLDED)


def test_damage_to_what_a_finished_training_kept_is_one_line(tmp_path, monkeypatch):
    interrupted(tmp_path / "cf", monkeypatch, sum(total_steps(FOLDED)[:2]) + 1, FOLDED)
    (best,) = (tmp_path / "checkpoint" / "without_0").glob("best_*")
    (best / "items.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected an npy array .*; delete .*without_0 to start LightGCN over"):
        train(tmp_path / "cf", config=FOLDED)
    (best.parent / "finished.json").write_text("{}")
    with pytest.raises(InputError, match=r"finished\.json: expected the record of a checkpoint"):
        train(tmp_path / "cf", config=FOLDED)


def test_one_trainer_is_in_memory_at_a_time(tmp_path, monkeypatch):
    made = []
    first = ColumnTrainer.__init__

    def counted(self, *arguments):
        assert not any(trainer() for trainer in made)
        made.append(weakref.ref(self))
        first(self, *arguments)

    monkeypatch.setattr(ColumnTrainer, "__init__", counted)
    gc.collect()
    gc.disable()  # a cycle would keep it until some later moment
    try:
        train(tmp_path / "cf", config=FOLDED)
    finally:
        gc.enable()
    assert len(made) == 3


def test_curves_of_every_training_are_shown(tmp_path, monkeypatch):
    class Writer(dict):
        def add_scalar(self, tag, scalar_value, global_step):
            self[tag, global_step] = scalar_value

    whole, resumed = Writer(), Writer()
    train(tmp_path / "whole" / "cf", config=FOLDED, writer=whole)
    interrupted(tmp_path / "cf", monkeypatch, sum(total_steps(FOLDED)[:2]) + 3, FOLDED)
    train(tmp_path / "cf", config=FOLDED, writer=resumed)
    assert resumed == whole
    assert {tag for tag, _ in whole} == {
        f"lightgcn/{name}{end}" for name in ("loss", "recall@20") for end in ("", "_without_0", "_without_1")
    }


def test_what_is_measured_is_recorded(tmp_path):
    seen = []
    leak = Leak(
        training_whole=0.7,
        training_without=0.4,
        validation=None,
        training_rows=9,
        validation_rows=0,
        negatives=5,
    )
    result, _, _ = train(tmp_path / "cf", config=FOLDED, measure=lambda vectors: seen.append(vectors) or leak)
    assert result.leak == leak
    assert result.lines()[-1] == leak.sentence()
    (vectors,) = seen
    assert (vectors.folds, vectors.seed) == (2, SEED)
    assert read_json(tmp_path / "cf" / "lightgcn.json", "")["result"]["leak"] == dataclasses.asdict(leak)


def test_folds_that_cannot_be_are_one_line(tmp_path):
    base = two_tastes()
    with pytest.raises(InputError, match=r"lightgcn\.folds: 61 parts of 60 users; lower it"):
        train(tmp_path / "cf", config=dataclasses.replace(FOLDED, folds=61))
    with pytest.raises(InputError, match=r"lightgcn\.folds: one fold leaves no user to learn from"):
        train(tmp_path / "cf", config=dataclasses.replace(FOLDED, folds=1))
    alone = dataclasses.replace(base, positive_N=base.positive_N & (FOLD_V[base.user_N] == 1))
    with pytest.raises(InputError, match=r"lightgcn\.folds: every training edge is of fold 1's users") as caught:
        train(tmp_path / "cf", timelines=alone, config=FOLDED)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_graphs_without_folds_share_out_every_edge():
    rng = np.random.default_rng(0)
    edges = Edges(key_Z=np.unique(rng.integers(0, 50 * 30, 600)), users=50, items=30)
    graphs = Graphs(edges, edges, 4, seed=1)
    fold_V = fold_of_users(np.arange(50), 4, 1)
    assert graphs.names == (WHOLE, 0, 1, 2, 3)
    assert graphs.training_edges(WHOLE) is edges
    left_out = []
    for fold in range(4):
        kept = graphs.training_edges(fold)
        assert len(kept) == graphs.edges(fold)
        assert (fold_V[kept.user_Z] != fold).all()
        left_out.append(np.setdiff1d(edges.key_Z, kept.key_Z))
    np.testing.assert_array_equal(np.sort(np.concatenate(left_out)), edges.key_Z)


def test_a_log_of_windows_makes_the_same_tables(tmp_path):
    windows = [(first, two_tastes().of_users(first, end)) for first, end in ((0, 7), (7, 8), (8, USERS))]
    train(tmp_path / "one" / "cf", config=FOLDED)
    train_lightgcn(windows, USERS, ITEMS, FOLDED, SEED, tmp_path / "cf", tmp_path / "checkpoint")
    assert files(tmp_path / "cf") == files(tmp_path / "one" / "cf")
