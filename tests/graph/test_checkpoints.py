"""An interrupted training ends as an uninterrupted one, bit for bit, or says why it cannot go on."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import torch

from gensr_dist.errors import InputError
from gensr_dist.graph.trainer import ColumnTrainer
from tests.forked_ranks import started
from tests.graph.builders import CONFIG, ITEMS, interrupted, step, train, two_tastes, without_seconds

EVERY_STEP = dataclasses.replace(CONFIG, epochs=7, checkpoint_minutes=0.0)  # 5 steps an epoch


@pytest.mark.parametrize("steps", [1, 5, 16, 34])
def test_resumed_training_gives_the_same_bytes(tmp_path, monkeypatch, steps):
    whole, items, users = train(tmp_path / "whole", config=EVERY_STEP)
    assert whole.epochs == 7
    interrupted(tmp_path / "cf", monkeypatch, steps, EVERY_STEP)
    assert not (tmp_path / "cf").exists()
    counted = []
    monkeypatch.setattr(ColumnTrainer, "step", lambda self, *batch: counted.append(1) or step(self, *batch))
    resumed, resumed_items, resumed_users = train(tmp_path / "cf", config=EVERY_STEP)
    assert len(counted) == 35 - steps
    assert without_seconds(resumed) == without_seconds(whole)
    np.testing.assert_array_equal(resumed_items, items)
    np.testing.assert_array_equal(resumed_users, users)
    assert not (tmp_path / "checkpoint").exists()


def test_twice_interrupted_and_rarely_saved(tmp_path, monkeypatch):
    """Steps after the last checkpoint are done again; the clock's settings may change."""
    rarely = dataclasses.replace(EVERY_STEP, checkpoint_minutes=1e9)  # at validations alone, after 15 and 30 steps
    _, items, _ = train(tmp_path / "whole", config=EVERY_STEP)
    interrupted(tmp_path / "cf", monkeypatch, 18, rarely)
    interrupted(tmp_path / "cf", monkeypatch, 18, rarely)
    assert [path.name for path in (tmp_path / "checkpoint" / "whole").glob("step_*")] == ["step_00000030"]
    _, resumed, _ = train(tmp_path / "cf", config=EVERY_STEP)
    np.testing.assert_array_equal(resumed, items)


def killed(folder):
    torch.set_num_threads(1)
    done = iter(range(22))
    ColumnTrainer.step = lambda self, *batch: step(self, *batch) if next(done, None) is not None else os._exit(9)
    train(folder, config=EVERY_STEP)


def test_killed_process_leaves_a_whole_checkpoint(tmp_path):
    _, items, _ = train(tmp_path / "whole", config=EVERY_STEP)
    process = started(killed, tmp_path / "cf")
    process.join()
    assert process.exitcode == 9
    (tmp_path / "checkpoint" / "whole" / ".step_00000099.tmp").mkdir()  # half-written by a kill at another moment
    _, resumed, _ = train(tmp_path / "cf", config=EVERY_STEP)
    np.testing.assert_array_equal(resumed, items)


def test_interrupt_while_results_are_written(tmp_path, monkeypatch):
    _, items, _ = train(tmp_path / "whole", config=EVERY_STEP)

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gensr_dist.graph.cross_fitting.save_cf", fails)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cf", config=EVERY_STEP)
    with monkeypatch.context() as patch:
        patch.setattr(ColumnTrainer, "step", fails)  # nothing is left to train
        _, resumed, _ = train(tmp_path / "cf", config=EVERY_STEP)
    np.testing.assert_array_equal(resumed, items)


def test_curves_of_a_resumed_training_are_whole(tmp_path, monkeypatch):
    class Writer(dict):
        def add_scalar(self, tag, scalar_value, global_step):
            self[tag, global_step] = scalar_value

    whole, resumed = Writer(), Writer()
    train(tmp_path / "whole", config=EVERY_STEP, writer=whole)
    interrupted(tmp_path / "cf", monkeypatch, 17, EVERY_STEP)
    train(tmp_path / "cf", config=EVERY_STEP, writer=resumed)
    assert resumed == whole
    assert len(whole) == 7 + 3


def test_other_settings_or_graph_are_refused_and_restart_forgets(tmp_path, monkeypatch):
    interrupted(tmp_path / "cf", monkeypatch, 17, EVERY_STEP)
    with pytest.raises(InputError, match=r"other settings.*: l2 was 0.001 and is 0.5; delete .*checkpoint"):
        train(tmp_path / "cf", config=dataclasses.replace(EVERY_STEP, l2=0.5))
    with pytest.raises(InputError, match="seed was 3 and is 4"):
        train(tmp_path / "cf", config=EVERY_STEP, seed=4)
    with pytest.raises(InputError, match="training edges was"):
        train(tmp_path / "cf", config=EVERY_STEP, timelines=two_tastes(seed=1))
    _, expected, _ = train(tmp_path / "whole" / "cf", config=EVERY_STEP, seed=4)
    _, items, _ = train(tmp_path / "cf", config=EVERY_STEP, seed=4, resume=False)
    np.testing.assert_array_equal(items, expected)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "vectors.npy",
            b"",
            "none of its 1 checkpoints is whole: in step_00000017, vectors.npy: the file is cut",
        ),
        ("vectors.npy", None, "vectors.npy: the manifest lists this file, but it is missing"),
        ("moment_1.npy", "cut", "moment_1.npy: the file is cut short"),
        ("moment_2.npy", "other", "moment_2.npy: the file"),
        ("state.json", b"{", "state.json: the file is cut short"),
        ("manifest.json", b"{", "manifest.json: expected a JSON file"),
        ("manifest.json", b"{}", "manifest.json: expected the record of a checkpoint, files: Field required"),
        ("best", None, "best epoch are missing"),
    ],
)
def test_damage_is_one_line_and_names_the_remedy(tmp_path, monkeypatch, name, content, problem):
    interrupted(tmp_path / "cf", monkeypatch, 17, EVERY_STEP)
    folder = tmp_path / "checkpoint" / "whole"
    path = folder / "step_00000017" / name
    if name == "best":
        shutil.rmtree(folder / "best_00003")
    elif content is None:
        path.unlink()
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif content == "other":
        np.save(path, np.zeros((ITEMS, 8), dtype=np.float32))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        train(tmp_path / "cf", config=EVERY_STEP)
    assert f"delete {folder} to start LightGCN over" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cf").exists()


def test_a_checkpoint_holds_arrays_and_json_alone(tmp_path, monkeypatch):
    interrupted(tmp_path / "cf", monkeypatch, 17, EVERY_STEP)
    files = [path for path in (tmp_path / "checkpoint").rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        if path.suffix == ".npy":
            assert np.load(path, allow_pickle=False).dtype == np.float32
        elif path.name == "state.json":
            assert json.loads(path.read_text())["step"] == 2
