"""The checkpoints that a training has kept, as moments of it to look at."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.checkpoints import series_in
from gensr_dist.train.tensor_files import TENSORS


def kept_checkpoints(run: RunFolder) -> dict[int, Path]:
    """Folders of the whole checkpoints by step, oldest first.

    Args:
        run: of GenSR, or the folder of a baseline. `train.keep_last` says how many a training keeps.
    """
    series = series_in(run.checkpoints)
    whole = [path for path in series.finished() if series.damage(path) is None]
    return {series.read(path).steps: path for path in whole}


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Give a model the weights of a checkpoint of its training.

    Raises:
        InputError: they are those of another model.
    """
    weights = load_file(path / TENSORS["weights"])
    own = dict(model.named_parameters())
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in own.items()}:
        raise InputError(path, "weights of another model", "analyse the run that trained it")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
