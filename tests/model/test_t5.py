"""Backbones from a config, a folder or a name."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, T5Config, T5ForConditionalGeneration

from gensr_dist.errors import InputError
from gensr_dist.model.config import SIZES
from gensr_dist.model.dropout import Dropout
from gensr_dist.model.t5 import load_t5, of_transformers, open_t5, random_t5, save_t5
from gensr_dist.model.t5_modules import T5Shape
from tests.model.builders import corpus_tokenizer, tiny_t5

KINDS = pytest.mark.parametrize(
    ("feed_forward", "untied"), [("gated-gelu", False), ("gated-gelu", True), ("relu", False)]
)


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_sizes_are_built_from_a_config(size: str) -> None:
    t5 = load_t5(size, 100, dropout=0.25)
    d_model, d_kv, heads, d_ff, encoder_layers, decoder_layers = SIZES[size]
    config = t5.config
    assert (config.d_model, config.d_kv, config.num_heads, config.d_ff) == (d_model, d_kv, heads, d_ff)
    assert (len(t5.encoder.block), len(t5.decoder.block)) == (encoder_layers, decoder_layers)
    assert config.vocab_size == 100
    assert t5.lm_head.weight is t5.shared.weight
    assert {module.rate for module in t5.modules() if isinstance(module, Dropout)} == {0.25}


@pytest.mark.parametrize("feed_forward", ["gated-gelu", "relu"])
def test_random_weights_are_distributed_as_transformers_draws_them(feed_forward: str) -> None:
    # Every width another, so that none can stand for another.
    sizes = {"vocab_size": 4_000, "d_model": 96, "d_kv": 40, "num_heads": 6, "d_ff": 160, "num_layers": 2}
    torch.manual_seed(3)
    theirs = T5ForConditionalGeneration(T5Config(**sizes, feed_forward_proj=feed_forward, decoder_start_token_id=0))
    ours = random_t5(T5Shape.read(theirs.config.to_dict()))
    # Sums over all parameters, such as the norm of a gradient, depend on their order.
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    expected = dict(theirs.named_parameters())
    for name, weight_X in ours.named_parameters():
        assert weight_X.shape == expected[name].shape
        if "norm" in name:
            assert torch.equal(weight_X, expected[name])
            continue
        # Five deviations of a mean and of a deviation, of both sides.
        noise = 5 * (2 / weight_X.numel()) ** 0.5
        assert weight_X.std().item() == pytest.approx(expected[name].std().item(), rel=noise)
        assert abs(weight_X.mean() - expected[name].mean()) < noise * expected[name].std()
        assert not torch.equal(weight_X, expected[name])


def test_random_weights_are_a_function_of_the_seed() -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return load_t5("nano", 90, dropout=0.1).state_dict()

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["shared.weight"], other["shared.weight"])


def test_random_weights_and_runs_need_no_transformers(tmp_path: Path) -> None:
    save_t5(load_t5("nano", 90, dropout=0.1), tmp_path / "t5")
    code = (
        "import sys; from pathlib import Path; from gensr_dist.model.t5 import load_t5, open_t5;"
        "load_t5('nano', 90, dropout=0.1); open_t5(Path(sys.argv[1])); sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t5")], check=True)


@KINDS
def test_a_saved_folder_comes_back_and_is_one_of_transformers(tmp_path: Path, feed_forward: str, untied: bool) -> None:
    source = tiny_t5(feed_forward=feed_forward, untied=untied)
    ours = of_transformers(source)
    save_t5(ours, tmp_path / "t5")
    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path / "t5")
    expected = source.state_dict()
    for loaded in (open_t5(tmp_path / "t5"), theirs):
        weights = loaded.state_dict()
        assert list(weights) == list(expected)
        assert all(torch.equal(weights[name], expected[name]) for name in weights)
        assert (loaded.lm_head.weight is loaded.shared.weight) is not untied
    for name, value in asdict(ours.config).items():
        assert getattr(source.config, name) == getattr(theirs.config, name) == value
    assert open_t5(tmp_path / "t5").config == ours.config


def test_a_feed_forward_of_another_kind_is_a_one_line_error(tmp_path: Path) -> None:
    tiny_t5(feed_forward="gated-silu").save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=r"cannot load '.*' \(feed_forward_proj of its config: .+\); give one of nano, "
    ):
        load_t5(str(tmp_path), 10, dropout=0.1)


@pytest.mark.parametrize("length", [1, 2, 17, 300])
@torch.no_grad()
def test_relative_positions_are_those_of_transformers(length: int) -> None:
    source = tiny_t5()
    theirs = source.encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)[0]
    ours = of_transformers(source).encoder.block[0].layer[0].SelfAttention.position_bias(length)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("untied", [False, True])
@torch.no_grad()
def test_a_local_folder_is_a_backbone(tmp_path: Path, untied: bool) -> None:
    saved = tiny_t5(untied=untied)
    saved.save_pretrained(tmp_path)
    loaded = load_t5(str(tmp_path), len(corpus_tokenizer()), dropout=0.25).eval()
    assert (loaded.lm_head.weight is loaded.shared.weight) is not untied
    assert loaded.config.scale_decoder_outputs is not untied
    assert loaded.config.dropout_rate == 0.25
    before, after = saved.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_half_precision_folder_is_trained_in_single_precision(tmp_path: Path) -> None:
    tiny_t5().bfloat16().save_pretrained(tmp_path)
    assert {p.dtype for p in load_t5(str(tmp_path), 10, dropout=0.1).parameters()} == {torch.float32}


@pytest.mark.parametrize("untied", [False, True])
def test_a_larger_vocabulary_enlarges_tables_and_keeps_their_rows(tmp_path: Path, untied: bool) -> None:
    saved = tiny_t5(untied=untied)
    saved.save_pretrained(tmp_path)
    before = len(corpus_tokenizer())
    loaded = load_t5(str(tmp_path), before + 7, dropout=0.1)
    assert loaded.shared.weight.shape == loaded.lm_head.weight.shape == (before + 7, 16)
    assert torch.equal(loaded.shared.weight[:before], saved.shared.weight)
    assert torch.equal(loaded.lm_head.weight[:before], saved.lm_head.weight)
    assert load_t5(str(tmp_path), before - 7, dropout=0.1).shared.num_embeddings == before


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def not_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def another_model(folder: Path) -> None:
    BertConfig().save_pretrained(folder)


def other_shapes(folder: Path) -> None:
    tiny_t5().config.save_pretrained(folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"d_ff": 24', '"d_ff": 48'))


def more_layers(folder: Path) -> None:
    tiny_t5(layers=3).config.save_pretrained(folder)


@pytest.mark.parametrize("damage", [cut_short, not_json, another_model, other_shapes, more_layers])
def test_a_damaged_folder_is_a_one_line_error(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    tiny_t5().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=r"^model\.backbone: cannot load '.*' \(.+\); give one of nano, ") as error:
        load_t5(str(tmp_path), 10, dropout=0.1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nanoo", "no/such-t5", "/no/such/folder"])
def test_unknown_backbone_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^model\.backbone: cannot load '.*' \(.+\); give one of nano, ") as error:
        load_t5(name, 10, dropout=0.1)
    assert "\n" not in str(error.value)
