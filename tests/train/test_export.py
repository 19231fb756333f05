"""The exported model, where it is more than the weights that learn."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gensr_dist.data.items import ItemStore, token_idf
from gensr_dist.model.gensr import GenSR
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.export import is_exported
from gensr_dist.train.loop import train
from gensr_dist.train.validation import ValidationResult
from tests.train.small_runs import small_config


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_weighs_tokens_as_the_catalogue_does(small_run: RunFolder, small_items: ItemStore, precision: str) -> None:
    config = small_config(steps=1, validate_every=1, precision=precision)
    train(dataclasses.replace(config, model=dataclasses.replace(config.model, cf_heads=2)), small_run)
    expected_V = token_idf(small_items.title_IT, len(small_items.tokenizer))
    assert len(np.unique(expected_V)) > 3
    model = GenSR.from_pretrained(small_run.model)
    assert model.token_idf_V.dtype == torch.float32
    assert np.array_equal(model.token_idf_V.numpy(), expected_V)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def best_is_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations are best after two of four steps."""
    values = iter([0.5, 0.1] * 9)
    drawn: dict[int, float] = {}
    results: list[ValidationResult] = []  # alive, so that no id comes twice

    def ndcg(result: ValidationResult) -> float:
        if id(result.tasks) not in drawn:
            drawn[id(result.tasks)] = next(values)
            results.append(result)
        return drawn[id(result.tasks)]

    monkeypatch.setattr(ValidationResult, "ndcg", property(ndcg))


@pytest.mark.parametrize("name", ["", "gensr.safetensors", "backbone/model.safetensors", "tokenizer/tokenizer.json"])
def test_a_deleted_model_is_made_again_of_its_checkpoint(
    small_run: RunFolder, best_is_second: None, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    result = train(small_config(keep_last=1), small_run)
    assert result.best_step == 2
    made = contents(small_run.model)
    last = contents(small_run.checkpoints)
    gone = small_run.model / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert not is_exported(small_run.model)
    with caplog.at_level("WARNING"):
        again = train(small_config(keep_last=1), small_run)
    assert contents(small_run.model) == made
    assert contents(small_run.checkpoints) == last
    assert (again.steps, again.best_step) == (4, 2)
    assert f"{small_run.model} is gone, restored from the checkpoint of step 2" in caplog.messages


def test_without_the_checkpoint_too_the_training_starts_over(small_run: RunFolder, best_is_second: None) -> None:
    train(small_config(keep_last=1), small_run)
    made = contents(small_run.model)
    shutil.rmtree(small_run.checkpoints / "step_00000002")
    shutil.rmtree(small_run.model)
    assert train(small_config(keep_last=1), small_run).best_step == 2
    assert contents(small_run.model).keys() == made.keys()


def test_a_model_that_was_deleted_in_between_is_not_waited_for_in_vain(
    small_run: RunFolder, best_is_second: None
) -> None:
    """The best so far is gone for good: the next validation leaves one, however good it is."""
    config = small_config(keep_last=9, steps=6)
    train(config, small_run)
    for gone in ("step_00000002", "step_00000006"):
        shutil.rmtree(small_run.checkpoints / gone)
    shutil.rmtree(small_run.model)
    assert train(config, small_run).best_step == 6
    assert is_exported(small_run.model)
