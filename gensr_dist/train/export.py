"""The model under training as a `save_pretrained` folder, whatever its precision and sharding."""

from pathlib import Path

import torch
import torch.distributed as dist
from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration

from gensr_dist.model.gensr import GenSR
from gensr_dist.train.engine import Engine


def export_model(engine: Engine, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the fp32 weights as they are now, replacing `folder` as a whole. Every rank must call it."""
    weights = engine.weights()
    if engine.ranks.first:
        model = engine.model
        with torch.device("meta"):  # takes its weights from the dictionary, so that none are made twice
            t5 = T5ForConditionalGeneration(model.backbone.t5.config)
        token_idf_V = model.token_idf_V.float().cpu()
        copy = GenSR(model.shape, t5, tokenizer, token_idf_V)
        copy.load_state_dict(weights | {"token_idf_V": token_idf_V}, assign=True)
        copy.save_pretrained(folder, tokenizer)
    dist.barrier()
