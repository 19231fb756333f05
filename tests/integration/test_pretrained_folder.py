"""A run on a pretrained T5 in a folder, weights and tokenizer beside each other as on the Hub, by config alone."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from gensr_dist.cli.main import main
from gensr_dist.model.gensr import GenSR

TOKENIZER = Path(__file__).parents[3] / "shared" / "t5_tokenizer"
CONFIG = """
simulate: {users: 60, items: 300, days: 6, events_per_user: 40}
data: {tokenizer: t5, title_tokens: 6, query_tokens: 4, history: 4, eval_negatives: 20, min_interactions: 2}
lightgcn: {width: 8, epochs: 1}
model: {backbone: t5, scoring: joint}
train: {steps: 1, batch: 4, warmup_steps: 0, learning_rate: 1.0e-6, validate_rows: 4, workers: 0}
evaluation: {bootstrap: 0, catalogue_rows: 2, rows: 4}
retrieval: {candidates: 20}
"""


@pytest.mark.skipif(not TOKENIZER.is_dir(), reason=f"flan-t5's tokenizer is not at {TOKENIZER}")
def test_a_folder_is_backbone_and_tokenizer_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(TOKENIZER, tmp_path / "t5")
    torch.manual_seed(0)
    shape = T5Config(
        vocab_size=32_128,  # flan-t5's table is larger than its tokenizer
        d_model=16,
        d_kv=4,
        num_heads=4,
        d_ff=24,
        num_layers=1,
        num_decoder_layers=1,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    pretrained = T5ForConditionalGeneration(shape)
    pretrained.lm_head.weight = torch.nn.Parameter(torch.randn(32_128, 16))  # flan-t5 has a head of its own
    pretrained.save_pretrained(tmp_path / "t5")
    (tmp_path / "c.yaml").write_text(CONFIG)

    assert main(["run", "c.yaml"]) == 0, capfd.readouterr().err

    trained = GenSR.from_pretrained(tmp_path / "runs" / "c" / "model").backbone.t5
    assert trained.lm_head.weight is not trained.shared.weight
    assert trained.shared.weight.shape == (32_128, 16)
    torch.testing.assert_close(trained.lm_head.weight, pretrained.lm_head.weight, atol=1e-4, rtol=0)  # one small step
    saved = AutoTokenizer.from_pretrained(tmp_path / "runs" / "c" / "model" / "tokenizer")
    assert saved.get_vocab() == AutoTokenizer.from_pretrained(TOKENIZER).get_vocab()
