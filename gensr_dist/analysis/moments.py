"""Moments of a training, from its first weights over the checkpoints that it kept."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

from gensr_dist.analysis.subject import OpenedPeer, Subject
from gensr_dist.baselines.registry import entry
from gensr_dist.baselines.weights import facts_of
from gensr_dist.data.items import token_idf
from gensr_dist.errors import InputError
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.precision import with_weights_in
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.train.checkpoints import series_in
from gensr_dist.train.tensor_files import TENSORS

_MOST = 8  # checkpoints that are looked at

Opened = TypeVar("Opened", TrainedRun, OpenedPeer)


@dataclass(frozen=True, kw_only=True)
class Moment(Generic[Opened]):
    """A model as it was."""

    step: int  # finished optimizer steps; 0: as the training began
    open: Callable[[], Opened]  # in evaluation mode, its weights its own


def moments_of_gensr(subject: Subject) -> list[Moment[TrainedRun]]:
    """Of the run, oldest first."""

    def at(path: Path) -> TrainedRun:
        model = copy.deepcopy(subject.trained.model)
        load_checkpoint(model, path)
        return dataclasses.replace(subject.trained, model=model)

    def untrained() -> TrainedRun:
        data, trained = subject.data, subject.trained
        torch.manual_seed(subject.config.seed)
        idf_V = token_idf(data.items.title_IT, len(data.items.tokenizer))
        vectors = data.vectors
        model = GenSR.build(
            subject.config.model, data.items.tokenizer, vectors.width, vectors.unit_scale(), idf_V
        ).use_kernels(subject.config.kernels)
        weight = trained.model.cf_projection.weight
        return dataclasses.replace(trained, model=with_weights_in(model, weight.dtype).to(weight.device).eval())

    kept = spread(kept_checkpoints(subject.run))
    return [Moment(step=0, open=untrained), *(Moment(step=step, open=partial(at, path)) for step, path in kept.items())]


def moments_of_peer(subject: Subject) -> list[Moment[OpenedPeer]]:
    """Of the peer, oldest first; none without a peer.

    Raises:
        InputError: it has no encoder that both tasks share.
    """
    opened = subject.opened_peer
    if opened is None:
        return []

    def of(model: Any) -> OpenedPeer:
        return dataclasses.replace(opened, model=model, networks=model.networks)

    def at(path: Path) -> OpenedPeer:
        model = copy.deepcopy(opened.model)
        load_checkpoint(model, path)
        return of(model)

    def untrained() -> OpenedPeer:
        torch.manual_seed(subject.config.seed)
        model = entry(opened.peer.name).build(opened.peer.settings, facts_of(subject.data))
        return of(model.to(opened.ranks.device).eval())

    kept = spread(kept_checkpoints(opened.peer.folder))
    return [Moment(step=0, open=untrained), *(Moment(step=step, open=partial(at, path)) for step, path in kept.items())]


def opened_moments(moments: list[Moment[Opened]], what: str, problems: list[str]) -> Iterator[tuple[int, Opened]]:
    """Steps and models, one after the other; what cannot be opened is told in `problems` and left out."""
    for moment in moments:
        try:
            opened = moment.open()
        except InputError as error:
            problems.append(f"{what} at step {moment.step}: {error}")
            continue
        yield moment.step, opened


def spread(kept: dict[int, Path]) -> dict[int, Path]:
    """Some of many checkpoints, evenly over the training, the last among them."""
    steps = list(kept)
    count = min(_MOST, len(steps))
    places = {round((number + 1) * len(steps) / count) - 1 for number in range(count)}
    return {steps[place]: kept[steps[place]] for place in sorted(places)}


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
