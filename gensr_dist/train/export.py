"""The model under training as a `save_pretrained` folder, whatever its precision and sharding."""

import hashlib
import json
import logging
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration

from gensr_dist.model.gensr import GenSR
from gensr_dist.train.checkpoints import Checkpoints, Progress
from gensr_dist.train.engine import Engine

LOG = logging.getLogger("gensr_dist.train")


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


def restore_model(
    checkpoints: Checkpoints, beginning: Progress, progress: Progress, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> Progress | None:
    """Make the best model again of its checkpoint where it was deleted. Every rank must call it.

    Args:
        checkpoints: of the training.
        beginning: as for their `load`.
        progress: of the newest one, which is loaded.
        tokenizer: of the model.
        folder: where the model belongs.

    Returns:
        `progress`, or None where the model is gone and so is its checkpoint.
    """
    engine, best = checkpoints.engine, progress.best_step
    gone = torch.tensor([int(best > 0 and engine.ranks.first and not is_exported(folder))], device=engine.ranks.device)
    dist.broadcast(gone, src=0)
    if not gone.item():
        return progress
    restored = checkpoints.load(beginning, best).steps == best
    if restored:
        export_model(engine, tokenizer, folder)
        if best != progress.steps:
            checkpoints.load(beginning)
    if engine.ranks.first:
        how = f"made again of the checkpoint of step {best}" if restored else f"and so is the checkpoint of step {best}"
        LOG.warning(f"{folder} is gone, {how}")
    return progress if restored else None


def is_exported(folder: Path) -> bool:
    """Whether every file is there that `export_model` leaves and loading needs."""
    backbone = folder / "backbone"
    needed = [folder / "gensr.json", folder / "gensr.safetensors", folder / "tokenizer" / "tokenizer.json"]
    needed += [folder / "tokenizer" / "tokenizer_config.json", backbone / "config.json"]
    index = backbone / "model.safetensors.index.json"  # of weights in several files
    try:
        weights = (
            set(json.loads(index.read_bytes())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all(path.is_file() for path in (*needed, *(backbone / name for name in weights)))


def digest_of_weights(engine: Engine) -> str:
    """SHA-256 of the fp32 weights, empty on other ranks than the first. Every rank must call it."""
    weights = engine.weights()
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest() if engine.ranks.first else ""
