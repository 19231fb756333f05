"""Saved models: what is written comes back bit for bit, and a damaged folder is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from gensr_dist.data.tokenizer import train_tokenizer
from gensr_dist.errors import InputError
from gensr_dist.model.gensr import GenSR
from tests.model.builders import (
    CF_WIDTH,
    corpus_tokenizer,
    random_batch,
    tiny_config,
    tiny_model,
    tiny_t5,
    tokenizer_named,
)


@pytest.mark.parametrize("tokenizer_name", ["corpus", "flan-t5"])
@pytest.mark.parametrize("changes", [{}, {"soft_filter": False, "scoring": "joint", "cf_view": False}])
@torch.no_grad()
def test_saved_model_loads_bit_for_bit(tmp_path: Path, tokenizer_name: str, changes: dict[str, object]) -> None:
    tokenizer = tokenizer_named(tokenizer_name)
    torch.manual_seed(1)
    saved = GenSR.build(tiny_config(**changes), tokenizer, CF_WIDTH, cf_scale=1.7).eval()
    saved.save_pretrained(tmp_path / "model", tokenizer)
    loaded = GenSR.from_pretrained(tmp_path / "model")
    assert not loaded.training
    assert loaded.shape == saved.shape
    before, after = saved.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    batch = random_batch(2)
    assert torch.equal(loaded.score(batch), saved.score(batch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    kinds = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".model", ".jinja"}


@torch.no_grad()
def test_a_pretrained_backbone_with_its_own_head_survives_saving(tmp_path: Path) -> None:
    """flan-t5: the checkpoint's head is not the token table, and the decoder's output is not scaled."""
    pretrained = tiny_t5(untied=True)
    pretrained.save_pretrained(tmp_path / "t5")
    model = GenSR.build(
        tiny_config(backbone=str(tmp_path / "t5"), semantic_heads=2), corpus_tokenizer(), CF_WIDTH
    ).eval()
    model.save_pretrained(tmp_path / "model", corpus_tokenizer())
    loaded = GenSR.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.backbone.t5.lm_head.weight, pretrained.lm_head.weight)
    assert loaded.backbone.t5.lm_head.weight is not loaded.backbone.t5.shared.weight
    assert not loaded.backbone.t5.config.scale_decoder_outputs
    batch = random_batch(2)
    assert torch.equal(loaded.score(batch), model.score(batch))


@torch.no_grad()
def test_a_from_config_head_stays_tied(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model", corpus_tokenizer())
    t5 = GenSR.from_pretrained(tmp_path / "model").backbone.t5
    assert t5.lm_head.weight is t5.shared.weight
    assert t5.encoder.embed_tokens.weight is t5.shared.weight
    assert t5.config.scale_decoder_outputs


def test_a_model_saved_in_half_precision_loads_in_single(tmp_path: Path) -> None:
    half = tiny_model().bfloat16()
    half.save_pretrained(tmp_path / "model", corpus_tokenizer())
    loaded = GenSR.from_pretrained(tmp_path / "model")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, tensor in half.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.float())


def test_saving_replaces_the_folder_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left.over").touch()
    tiny_model().save_pretrained(tmp_path / "model", corpus_tokenizer())
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "backbone",
        "gensr.json",
        "gensr.safetensors",
        "tokenizer",
    ]


@pytest.fixture(scope="module")
def saved_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_model().save_pretrained(folder, corpus_tokenizer())
    return folder


FILES = [
    "gensr.json",
    "gensr.safetensors",
    "backbone/config.json",
    "backbone/model.safetensors",
    "tokenizer/tokenizer.json",
]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut short", "rubbish"])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_folder_is_a_one_line_error(tmp_path: Path, saved_folder: Path, file: str, damage: str) -> None:
    folder = copy_of(saved_folder, tmp_path)
    content = (folder / file).read_bytes()
    if damage == "missing":
        (folder / file).unlink()
    else:
        damaged = {"empty": b"", "cut short": content[: len(content) // 2], "rubbish": b"\xff\x00{" * 40}[damage]
        (folder / file).write_bytes(damaged)
    assert_refused(folder)


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "gensr.safetensors")
    weights.pop("cf_projection.bias")
    save_file(weights, folder / "gensr.safetensors")


def with_a_foreign_weight(folder: Path) -> None:
    save_file(load_file(folder / "gensr.safetensors") | {"backdoor": torch.zeros(2)}, folder / "gensr.safetensors")


def with_a_backbone_that_lacks_a_weight(folder: Path) -> None:
    weights = load_file(folder / "backbone/model.safetensors")
    weights.pop("encoder.final_layer_norm.weight")
    save_file(weights, folder / "backbone/model.safetensors", metadata={"format": "pt"})


def with_another_cf_width(folder: Path) -> None:
    edit(folder, cf_width=16)


def with_heads_that_do_not_divide(folder: Path) -> None:
    edit(folder, model={**json.loads((folder / "gensr.json").read_text())["model"], "cf_heads": 3})


def with_an_unknown_scoring(folder: Path) -> None:
    edit(folder, model={**json.loads((folder / "gensr.json").read_text())["model"], "scoring": "none"})


def edit(folder: Path, **changes: object) -> None:
    shape = json.loads((folder / "gensr.json").read_text())
    (folder / "gensr.json").write_text(json.dumps({**shape, **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        without_a_weight,
        with_a_foreign_weight,
        with_a_backbone_that_lacks_a_weight,
        with_another_cf_width,
        with_heads_that_do_not_divide,
        with_an_unknown_scoring,
    ],
)
def test_a_folder_that_does_not_fit_together_is_a_one_line_error(
    tmp_path: Path, saved_folder: Path, damage: Callable[[Path], None]
) -> None:
    folder = copy_of(saved_folder, tmp_path)
    damage(folder)
    assert_refused(folder)


def test_a_model_of_other_tokens_or_vectors_is_a_one_line_error(saved_folder: Path) -> None:
    own, other = corpus_tokenizer(), train_tokenizer(pl.Series(["quite other words"]), 300)
    GenSR.from_pretrained(saved_folder, reads=own, cf_width=CF_WIDTH)
    with pytest.raises(InputError, match=r"the model was trained with another tokenizer than that of the shards"):
        GenSR.from_pretrained(saved_folder, reads=other, cf_width=CF_WIDTH)
    with pytest.raises(InputError, match=rf"a model for CF vectors of width {CF_WIDTH}, not 16; train"):
        GenSR.from_pretrained(saved_folder, reads=own, cf_width=16)


@pytest.mark.parametrize("name", ["absent", "file"])
def test_what_is_not_a_folder_is_a_one_line_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert_refused(tmp_path / name)


def copy_of(saved_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for path in saved_folder.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(saved_folder)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(saved_folder)).write_bytes(path.read_bytes())
    return folder


def assert_refused(folder: Path) -> None:
    with pytest.raises(InputError) as error:
        GenSR.from_pretrained(folder)
    assert error.value.where == str(folder)
    assert "\n" not in str(error.value)
