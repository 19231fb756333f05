"""Ranks that share the columns train as one."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.distributed as dist

from gensr_dist.data.cf_vectors import load_cf
from gensr_dist.errors import InputError
from gensr_dist.graph import recall as recall_module
from gensr_dist.graph import tables as tables_module
from gensr_dist.graph import trainer as trainer_module
from gensr_dist.graph.edges import recommendation_edges
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.trainer import ColumnTrainer
from gensr_dist.storage.records import read_json
from tests.forked_ranks import on_ranks
from tests.graph.builders import CONFIG, ITEMS, USERS, train, two_tastes

SHORT = dataclasses.replace(CONFIG, epochs=2, validate_every=1, l2=0.1)
ONE_EPOCH = dataclasses.replace(SHORT, epochs=1)
CPU = torch.device("cpu")


def rank_main(rank, world, folder, config, steps):
    torch.set_num_threads(1)
    trainer_module.EDGES_AT_ONCE = tables_module.ROWS_AT_ONCE = 48  # several chunks, the last one short
    recall_module.SCORES_AT_ONCE = USERS * 7  # blocks of 7 items, the last ones short or empty
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous_{world}", rank=rank, world_size=world)
    if steps:
        step, done = ColumnTrainer.step, iter(range(steps))

        def some_steps(self, *batch):
            if next(done, None) is None:
                raise KeyboardInterrupt
            return step(self, *batch)

        ColumnTrainer.step = some_steps
    try:
        result, _, _ = train(folder / "cf", config=config, ranks=ColumnRanks(rank, world))
        (folder / f"rank_{rank}").write_text(str(dataclasses.replace(result, seconds=0.0)))
    except KeyboardInterrupt:
        pass
    dist.destroy_process_group()


def train_on(world, folder, config, steps=0):
    folder.mkdir(exist_ok=True)
    on_ranks(world, rank_main, world, folder, config, steps)


@pytest.mark.parametrize("world", [2, 4])
def test_an_epoch_equals_that_of_one_rank(tmp_path, world):
    one, items, users = train(tmp_path / "one", config=ONE_EPOCH)
    train_on(world, tmp_path / "ranks", ONE_EPOCH)
    found, found_users = load_cf(tmp_path / "ranks" / "cf", folds=True)
    np.testing.assert_allclose(found.whole_IE, items, atol=1e-5)
    np.testing.assert_allclose(found_users, users, atol=1e-5)
    assert np.abs(items).max() > 0.1
    reports = {(tmp_path / "ranks" / f"rank_{rank}").read_text() for rank in range(world)}
    assert reports == {str(dataclasses.replace(one, seconds=0.0))}
    assert read_json(tmp_path / "ranks/cf/lightgcn.json", "")["result"]["recall_at_20"] > 0
    assert not (tmp_path / "ranks" / "checkpoint").exists()


def test_training_may_go_on_with_another_number_of_ranks(tmp_path):
    config = dataclasses.replace(SHORT, checkpoint_minutes=0.0)
    _, items, _ = train(tmp_path / "one", config=config)
    train_on(2, tmp_path / "ranks", config, steps=3)
    checkpoint = tmp_path / "ranks" / "checkpoint" / "whole"
    assert [path.name for path in checkpoint.glob("step_*")] == ["step_00000003"]
    _, found, _ = train(tmp_path / "ranks" / "cf", config=config)
    np.testing.assert_allclose(found, items, atol=1e-5)


@pytest.mark.parametrize("world", [2, 4])
def test_trainings_without_folds_equal_those_of_one_rank(tmp_path, world):
    config = dataclasses.replace(ONE_EPOCH, folds=2)
    one, _, _ = train(tmp_path / "one" / "cf", config=config)
    train_on(world, tmp_path / "ranks", config)
    expected, found = (load_cf(tmp_path / name / "cf", folds=True)[0] for name in ("one", "ranks"))
    for table, found_table in zip(expected.without_fold, found.without_fold, strict=True):
        np.testing.assert_allclose(found_table, table, atol=1e-4)
        assert np.abs(table).max() > 0.1
    reports = {(tmp_path / "ranks" / f"rank_{rank}").read_text() for rank in range(world)}
    assert reports == {str(dataclasses.replace(one, seconds=0.0))}
    assert not (tmp_path / "ranks" / "checkpoint").exists()


def test_a_stage_of_folds_may_go_on_with_another_number_of_ranks(tmp_path):
    config = dataclasses.replace(SHORT, checkpoint_minutes=0.0, folds=2)
    train(tmp_path / "one" / "cf", config=config)
    train_on(2, tmp_path / "ranks", config, steps=13)
    assert (tmp_path / "ranks" / "checkpoint" / "whole" / "finished.json").exists()
    train(tmp_path / "ranks" / "cf", config=config)
    expected, found = (load_cf(tmp_path / name / "cf", folds=True)[0] for name in ("one", "ranks"))
    for table, found_table in zip(expected.without_fold, found.without_fold, strict=True):
        np.testing.assert_allclose(found_table, table, atol=1e-4)


def bad_input_of_the_first(rank, world, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    ranks = ColumnRanks(rank, world, CPU)
    assert ranks.from_first(lambda: ("result", rank)) == ("result", 0)

    def refuse():
        assert rank == 0
        raise InputError("a file", "it is damaged", "make it again")

    with pytest.raises(InputError, match="a file: it is damaged; make it again"):
        ranks.from_first(refuse)
    dist.barrier()
    dist.destroy_process_group()


def test_bad_input_that_the_first_rank_finds_ends_all(tmp_path):
    on_ranks(2, bad_input_of_the_first, 2, tmp_path)


def test_a_rank_holds_its_columns_alone_and_first_vectors_do_not_depend_on_ranks():
    edges, _ = recommendation_edges([(0, two_tastes())], users=USERS, items=ITEMS)
    whole = ColumnTrainer(edges, CONFIG, 3, ColumnRanks(0, 1, CPU))
    parts = [ColumnTrainer(edges, CONFIG, 3, ColumnRanks(rank, 4, CPU)) for rank in range(4)]
    for part in parts:
        for table in (*part.tables.values(), part.gradient_Ne, *part.buffers):
            assert table.shape == (USERS + ITEMS, 2)
    torch.testing.assert_close(torch.cat([part.weight_Ne for part in parts], dim=1), whole.weight_Ne, atol=0, rtol=0)


def test_width_that_ranks_cannot_share_is_refused(tmp_path):
    with pytest.raises(InputError, match="8 columns cannot be shared evenly by 3 ranks"):
        train(tmp_path / "cf", ranks=ColumnRanks(0, 3, CPU))
    assert not list(tmp_path.iterdir())
