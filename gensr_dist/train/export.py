"""The model under training as a `save_pretrained` folder, whatever its precision and sharding."""

import hashlib
import logging
from pathlib import Path

import torch.distributed as dist

from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.t5 import CONFIG, WEIGHTS
from gensr_dist.model.t5_modules import T5
from gensr_dist.train.checkpoints import Checkpoints, Progress
from gensr_dist.train.engine import Engine

LOG = logging.getLogger("gensr_dist.train")


def export_model(engine: Engine[GenSR], tokenizer: TextTokenizer, folder: Path) -> None:
    """Write the fp32 weights as they are now, replacing `folder` as a whole. Every rank must call it."""
    weights = engine.weights()
    if engine.ranks.first:
        model, prefix = engine.model, "backbone.t5."
        t5_weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        token_idf_V = model.token_idf_V.float().cpu()
        copy = GenSR(model.shape, T5.of(model.backbone.t5.config, t5_weights), tokenizer, token_idf_V)
        copy.load_state_dict(weights | {"token_idf_V": token_idf_V})
        copy.save_pretrained(folder, tokenizer)
    dist.barrier()


def restore_model(
    checkpoints: Checkpoints, beginning: Progress, progress: Progress, tokenizer: TextTokenizer, folder: Path
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
    if not engine.ranks.from_first(lambda: best > 0 and not is_exported(folder)):
        return progress
    restored = checkpoints.load(beginning, best).steps == best
    if restored:
        export_model(engine, tokenizer, folder)
        if best != progress.steps:
            checkpoints.load(beginning)
    if engine.ranks.first:
        how = f"restored from the checkpoint of step {best}" if restored else f"and so is the checkpoint of step {best}"
        LOG.warning(f"{folder} is gone, {how}")
    return progress if restored else None


def is_exported(folder: Path) -> bool:
    """Whether every file is there that `export_model` leaves and loading needs."""
    files = ("gensr.json", "gensr.safetensors", "tokenizer/tokenizer.json", f"backbone/{CONFIG}", f"backbone/{WEIGHTS}")
    return all((folder / name).is_file() for name in files)


def digest_of_weights(engine: Engine[GenSR]) -> str:
    """SHA-256 of the fp32 weights, empty on other ranks than the first. Every rank must call it."""
    weights = engine.weights()
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest() if engine.ranks.first else ""
