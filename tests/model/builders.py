"""Small models, tokenizers and batches for the tests of the model.

Dimensions: G groups, C candidates, L history, Q query, U items of the batch, T title tokens, E width of a CF vector.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from gensr_dist.data.batches.batch import HISTORY_FEATURES, IGNORED, QUERY_FEATURES, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from gensr_dist.model.backbone import Backbone
from gensr_dist.model.config import ModelConfig, PromptConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.prompt import SLOTS
from gensr_dist.model.prompt_layout import PromptLayout
from gensr_dist.model.t5_modules import T5

CF_WIDTH = 8
FLAN_T5_TOKENIZER = Path(__file__).parents[3] / "shared" / "t5_tokenizer"
WORDS = ("red", "lipstick", "matte", "blue", "nail", "polish", "shine", "oil", "hair", "brush", "soft", "cream")


@functools.cache
def corpus_tokenizer() -> TextTokenizer:
    templates = " ".join([PromptConfig().recommendation, PromptConfig().search])
    return train_tokenizer(pl.Series([" ".join(WORDS), templates] * 20), 260)


def tokenizer_named(name: str) -> TextTokenizer:
    """The corpus tokenizer or flan-t5's; skips the test where the latter is absent."""
    if name == "corpus":
        return corpus_tokenizer()
    if not FLAN_T5_TOKENIZER.is_dir():
        pytest.skip(f"flan-t5's tokenizer is not at {FLAN_T5_TOKENIZER}")
    return load_tokenizer(str(FLAN_T5_TOKENIZER))


def tiny_config(**changes: Any) -> ModelConfig:
    return replace(ModelConfig(cf_heads=2, semantic_heads=2), **changes)


def tiny_model(seed: int = 0, **changes: Any) -> GenSR:
    """A model in evaluation mode whose position biases and filters are large enough to matter."""
    torch.manual_seed(seed)
    model = GenSR.build(tiny_config(**changes), corpus_tokenizer(), CF_WIDTH)
    spread_position_bias(model.backbone.t5)
    for filter_ in (model.cf_filter, model.semantic_filter):
        torch.nn.init.normal_(filter_.empty_D)
    return model.eval()


def tiny_t5(
    seed: int = 0, *, feed_forward: str = "gated-gelu", untied: bool = False, layers: int = 2
) -> T5ForConditionalGeneration:
    """A T5 in evaluation mode, as flan-t5 is (untied) or as the first T5 was (tied)."""
    torch.manual_seed(seed)
    extra = {"tie_word_embeddings": False} if untied else {}
    config = T5Config(
        vocab_size=len(corpus_tokenizer()),
        d_model=16,
        d_kv=4,
        num_heads=3,
        d_ff=24,
        num_layers=layers,
        num_decoder_layers=layers,
        feed_forward_proj=feed_forward,
        decoder_start_token_id=0,
        **extra,
    )
    t5 = T5ForConditionalGeneration(config)
    if untied:
        t5.lm_head.weight = torch.nn.Parameter(torch.randn_like(t5.shared.weight))
    spread_position_bias(t5)
    return t5.eval()


def spread_position_bias(t5: T5 | T5ForConditionalGeneration) -> None:
    for stack in (t5.encoder, t5.decoder):
        torch.nn.init.normal_(stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight)


def random_batch(
    seed: int,
    *,
    groups: int = 3,
    candidates: int = 4,
    history: int = 5,
    title: int = 3,
    query: int = 4,
    items: int = 9,
    padded_candidates: bool = False,
) -> Batch:
    """A batch of both tasks with histories of 0 to `history` items and titles of 0 to `title` tokens."""
    random = np.random.default_rng(seed)
    vocabulary = len(corpus_tokenizer())

    def padded(lengths: np.ndarray, width: int, low: int, high: int) -> np.ndarray:
        values = random.integers(low, high, (len(lengths), width))
        return np.where(np.arange(width) < lengths[:, None], values, 0)

    task_G = random.integers(0, 2, groups)
    length_G = random.integers(0, history + 1, groups)
    candidate_GC = random.integers(1, items + 1, (groups, candidates))
    label_GC = np.zeros((groups, candidates), dtype=np.int64)
    label_GC[:, 0] = 1
    if padded_candidates:
        absent_GC = np.arange(candidates) >= random.integers(1, candidates + 1, groups)[:, None]
        candidate_GC[absent_GC] = 0
        label_GC[absent_GC] = IGNORED
    cf_UE = random.normal(size=(items + 1, CF_WIDTH)).astype(np.float32)
    cf_UE[0] = 0
    title_lengths = random.integers(0, title + 1, items + 1)
    title_lengths[0] = 0
    query_lengths = np.where(task_G == Behaviour.SEARCH, random.integers(0, query + 1, groups), 0)
    arrays = {
        "row_G": np.arange(groups),
        "user_G": random.integers(0, max(groups, 2), groups),
        "task_G": task_G,
        "query_GQ": padded(query_lengths, query, 13, vocabulary),
        "history_GL": padded(length_G, history, 1, items + 1),
        "behaviour_GL": padded(length_G, history, 1, 4),
        "candidate_GC": candidate_GC,
        "label_GC": label_GC,
        "item_U": np.arange(-1, items),
        "cf_UE": cf_UE,
        "log_chance_GC": np.zeros(candidate_GC.shape, dtype=np.float32),
        "query_evidence_GCF": random.random((*candidate_GC.shape, QUERY_FEATURES), dtype=np.float32)
        * (task_G == Behaviour.SEARCH)[:, None, None],
        "title_UT": padded(title_lengths, title, 13, vocabulary),
        "history_evidence_GCF": random.random((*candidate_GC.shape, HISTORY_FEATURES), dtype=np.float32),
    }
    return Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()}, step_groups=groups)


def answer(
    backbone: Backbone, context_GSD: Tensor, context_mask_GS: Tensor, block_GCPD: Tensor, block_mask_GP: Tensor
) -> Tensor:
    """Logits [G, C, V] where each group has a context of its own and the same mask for all its candidates."""
    layout = PromptLayout.of(
        backbone.scoring,
        request_G=torch.arange(len(context_GSD)),
        context_mask_RS=context_mask_GS,
        block_mask_GCP=block_mask_GP[:, None].expand(-1, block_GCPD.shape[1], -1),
    )
    start_D = backbone.embed(torch.tensor(backbone.start))
    return backbone(context_GSD, block_GCPD, start_D, layout)


def groups_of(batch: Batch, rows: Sequence[int] | slice) -> Batch:
    """Some groups of a batch over the same item table."""
    of_groups = ("row_G", "user_G", "task_G", "query_GQ", "history_GL", "behaviour_GL")
    names = (*of_groups, "candidate_GC", "label_GC", "query_evidence_GCF", "history_evidence_GCF")
    return replace(batch, **{name: getattr(batch, name)[rows] for name in names})


def widened(batch: Batch) -> Batch:
    """The same batch with more padding behind histories, titles and queries."""
    pad = torch.nn.functional.pad
    return replace(
        batch,
        history_GL=pad(batch.history_GL, (0, 2)),
        behaviour_GL=pad(batch.behaviour_GL, (0, 2)),
        title_UT=pad(batch.title_UT, (0, 3)),
        query_GQ=pad(batch.query_GQ, (0, 2)),
    )


def texts_told(model: GenSR, batch: Batch) -> Tensor:
    """What T5 is told of each candidate's text [G, C, D]."""
    slots: list[Tensor] = []
    whole = model._answer
    model._answer = lambda *given_: (slots.append(given_[2]), whole(*given_))[1]  # type: ignore[method-assign]
    try:
        model(model.inputs(batch))
    finally:
        del model._answer  # type: ignore[method-assign]
    return slots[0][:, :, SLOTS.index("item_text")]
