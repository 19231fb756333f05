"""The one trainer of all baselines: the same events, validation rows and engine as GenSR's.

A training is a function of settings, seed and data: an interrupted one goes on from its newest checkpoint, on however
many ranks.
"""

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np
import psutil
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from tqdm import tqdm

from gensr_dist.baselines.contract import Baseline, Losses, Need, Settings
from gensr_dist.baselines.loaders import BaselineLoader
from gensr_dist.baselines.registry import entry
from gensr_dist.baselines.result import Curve, CurvePoint
from gensr_dist.baselines.validation import BaselineValidation
from gensr_dist.baselines.weights import WEIGHTS, collator_for, facts_of, load_weights
from gensr_dist.config.root import Config
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.prefetch import prefetched
from gensr_dist.data.tensors import map_tensors
from gensr_dist.distributed.rank_log import rank_log
from gensr_dist.distributed.ranks import Ranks, join_processes
from gensr_dist.distributed.signals import Stop, StopRequest
from gensr_dist.errors import InputError, Paused
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.records import digest, read_record, write_json
from gensr_dist.train.checkpoints import Checkpoints, Progress, discard
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.engine import Engine, Learning
from gensr_dist.train.objective import seed_dropout

CURVE = "curve.json"
_REMEDY = "delete it, or train the baseline again"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained baseline and what it took."""

    model: Baseline  # with the weights of the best validation, in evaluation mode
    collator: Collator
    ranks: Ranks
    progress: Progress
    steps_per_epoch: int

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def seconds_per_epoch(self) -> float:
        """Of training steps alone."""
        return self.progress.train_seconds / max(1, self.progress.steps) * self.steps_per_epoch


def train_baseline(
    name: str,
    settings: Settings,
    config: Config,
    data: PreparedData,
    folder: RunFolder,
    *,
    resume: bool = True,
    budget: float = math.inf,
) -> Trained:
    """Train a baseline; leave its best weights in `folder.model`. Every rank must call it.

    Args:
        name: of the registry.
        settings: of the baseline.
        config: seed, how batches are read, and how a training is operated (`train.zero_stage`, `train.workers`, ...).
        data: what it is trained on, opened with the vectors of folds.
        folder: of the baseline; receives checkpoints, curve and model.
        resume: go on from the newest checkpoint, if there is one.
        budget: seconds of training, over all resumptions, after which it ends with the best weights so far.

    Raises:
        InputError: the log lacks what it needs, a loss is not finite, or the checkpoints belong to other settings.
        Paused: it was asked to end; a checkpoint of the last step is there.
    """
    ranks = join_processes()
    with (
        rank_log(folder.logs, ranks),
        StopRequest(config.train.max_hours, decides=ranks.first) as request,
    ):
        return _Training(name, settings, config, data, folder, ranks, request, resume, budget).run()


class _Training:
    """The parts of one training and how far it is."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        config: Config,
        data: PreparedData,
        folder: RunFolder,
        ranks: Ranks,
        request: StopRequest,
        resume: bool,
        budget: float,
    ) -> None:
        self.budget = budget
        self.name, self.settings, self.config, self.folder = name, settings, config, folder
        self.ranks, self.request = ranks, request
        self.collator = collator_for(settings, data)
        _check_needs(name, data)
        _check_fits(name, settings, data, ranks)
        torch.manual_seed(config.seed)
        model = entry(name).build(settings, facts_of(data))
        self.loader = BaselineLoader(model, settings, self.collator, config.seed, ranks)
        self.steps_per_epoch = self.loader.order.steps_per_epoch
        self.steps = settings.epochs * self.steps_per_epoch
        self.validate_every = max(1, round(settings.validate_every * self.steps_per_epoch))
        self.validation = BaselineValidation(model, data, config)
        self.engine = Engine(model, _train_config(settings, config, self.steps), ranks, _learning(model, settings))
        self.checkpoints = Checkpoints(folder.checkpoints, self.engine, keep_last=config.train.keep_last)
        if not resume and ranks.first:
            discard(folder.checkpoints)
        dist.barrier()
        known: dict[str, str | int | float | bool] = {
            "baseline": name,
            "seed": config.seed,
            "shards": digest(data.store.manifest)[:16],
        }
        known |= {"cf": data.vectors.digest()[:16], **dataclasses.asdict(settings)}
        beginning = Progress(settings=known, world=ranks.world, zero_stage=self.engine.zero_stage)
        self.progress = self.checkpoints.load(beginning)
        self.started = time.perf_counter() - self.progress.seconds
        self.curve = self._earlier_curve()
        self.losses: list[dict[str, float]] = []  # since the last validation
        self.last_loss: float | None = None

    def run(self) -> Trained:
        """Train to the last step or to the early stop, then load the best weights."""
        try:
            if not self._finished:
                self._train()
            self.checkpoints.finish()
        finally:
            self.checkpoints.close()
        model = self.engine.model
        load_weights(model, self.folder)
        return Trained(
            model=model.eval(),
            collator=self.collator,
            ranks=self.ranks,
            progress=self.progress,
            steps_per_epoch=self.steps_per_epoch,
        )

    def _train(self) -> None:
        batches = prefetched(
            self.loader.batches_of_step, self.progress.steps, self.steps, workers=self.config.train.workers
        )
        bar = tqdm(
            total=self.steps,
            initial=self.progress.steps,
            desc=self.name,
            unit="step",
            disable=None if self.ranks.first else True,
        )
        with bar:
            for step, (batch, *_) in batches:
                began = time.perf_counter()
                stop = self._optimize(step, batch)
                seconds = self.progress.train_seconds + time.perf_counter() - began
                self.progress = dataclasses.replace(self.progress, steps=step + 1, train_seconds=seconds)
                bar.update()
                spent = stop is Stop.BUDGET and math.isfinite(self.budget)
                if spent or self.progress.steps % self.validate_every == 0 or self.progress.steps == self.steps:
                    self._validate()
                    if spent:
                        self.progress = dataclasses.replace(self.progress, stopped_early=True)
                    bar.set_postfix_str(f"best {self.progress.best_ndcg:.4f}", refresh=False)
                    self._save()
                elif stop:
                    self._save()
                if self._finished:
                    return
                if stop:
                    self.checkpoints.finish()
                    raise Paused(f"{self.name} stopped after step {step + 1} of {self.steps}; a checkpoint is saved")

    def _optimize(self, step: int, batch: object) -> Stop:
        """One optimizer step, and whether to end after it."""
        seed_dropout(self.config.seed, step, self.ranks.rank)
        on_device = map_tensors(batch, lambda tensor: tensor.to(self.ranks.device, non_blocking=True))
        losses: Losses = self.engine.forward(on_device, last=True)
        total = losses.total
        self.engine.backward(total * self.ranks.world)
        # One reduction tells all ranks of a loss or gradient that is not finite, and of a request to end.
        norm = self.engine.norm_before_update
        bad = ~total.detach().isfinite() if norm is None else ~(total.detach().isfinite() & norm.isfinite())
        late = self.ranks.first and time.perf_counter() - self.started >= self.budget
        reason = max(self.request.reason, Stop.BUDGET if late else Stop.NO)
        flags = torch.tensor([float(bad), float(reason)], device=self.ranks.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        refused, stop = flags.tolist()
        if refused:
            known = self.last_loss is not None
            finite = f"the last finite loss was {self.last_loss:.4g}" if known else "it is the first of this start"
            raise InputError(
                f"baseline {self.name}",
                f"the loss or gradient of step {step + 1} is not finite; {finite}",
                f"lower {self.name}.learning_rate, which is {self.settings.learning_rate:g}",
            )
        self.engine.step()
        self.last_loss = float(total.detach())
        self.losses.append({name: float(part.detach()) for name, part in losses.parts.items()})
        return Stop(int(stop))

    def _validate(self) -> None:
        """Rank the samples; keep the weights if they are the best so far."""
        validation, training = self.validation.run(self.engine.model, self.collator, self.ranks)
        ndcg = sum(validation.values()) / len(validation)
        progress = self.progress
        if ndcg > progress.best_ndcg:
            self._export()
            self.progress = dataclasses.replace(
                progress, best_step=progress.steps, best_ndcg=ndcg, validations_without_gain=0
            )
        else:
            without = progress.validations_without_gain + 1
            self.progress = dataclasses.replace(
                progress, validations_without_gain=without, stopped_early=without >= self.settings.patience
            )
        names = self.losses[0] if self.losses else {}
        point = CurvePoint(
            step=progress.steps,
            epoch=progress.steps / self.steps_per_epoch,
            loss={name: float(np.mean([each[name] for each in self.losses])) for name in names},
            validation=validation,
            training=training,
        )
        self.losses = []
        self.curve = Curve(points=(*self.curve.points, point))
        if self.ranks.first:
            write_json(self.folder.root / CURVE, self.curve)

    def _export(self) -> None:
        weights = self.engine.weights()
        if self.ranks.first:
            with durable_folder(self.folder.model) as temporary:
                save_file({name: value.contiguous().clone() for name, value in weights.items()}, temporary / WEIGHTS)
        dist.barrier()

    def _save(self) -> None:
        self.progress = dataclasses.replace(self.progress, seconds=time.perf_counter() - self.started)
        self.checkpoints.save(self.progress)

    def _earlier_curve(self) -> Curve:
        """The points of a training that goes on, up to its checkpoint."""
        path = self.folder.root / CURVE
        if not self.progress.steps or not path.exists():
            return Curve()
        earlier = read_record(path, Curve, "a curve of validations", missing=_REMEDY, wrong=_REMEDY)
        return Curve(points=tuple(point for point in earlier.points if point.step <= self.progress.steps))

    @property
    def _finished(self) -> bool:
        return self.progress.stopped_early or self.progress.steps >= self.steps


def _check_needs(name: str, data: PreparedData) -> None:
    model = entry(name).model
    if Need.TITLES in model.needs and not np.asarray(data.items.title_IT).any():
        raise InputError(f"baseline {name}", "it reads texts of items, and this log has none", "give items a text")
    if Need.QUERIES in model.needs and not len(data.items.query_QT):
        raise InputError(f"baseline {name}", "it reads queries, and this log has none", "prepare a log with searches")


def _check_fits(name: str, settings: Settings, data: PreparedData, ranks: Ranks) -> None:
    """Refuse a table of items that this rank cannot hold with its gradient and both moments of AdamW."""
    if "id" not in settings.item_input:
        return
    needed = 4 * 4 * data.store.items * settings.width
    free = (
        torch.cuda.mem_get_info(ranks.device)[0] if ranks.device.type == "cuda" else psutil.virtual_memory().available
    )
    if needed > free:
        problem = f"learnt vectors of {data.store.items:,} items take {needed:,} bytes to train, and {free:,} are free"
        raise InputError(f"baseline {name}", problem, f"set {name}.item_input=cf, or lower {name}.width")


def _train_config(settings: Settings, config: Config, steps: int) -> TrainConfig:
    """The operation is the run's, the optimization the baseline's."""
    return dataclasses.replace(
        config.train,
        steps=steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        clip=settings.clip,
        precision="fp32",
        zero_stage=min(config.train.zero_stage, 2),  # a baseline is scored outside of its forward pass
        offload="none" if config.train.offload == "parameters" else config.train.offload,
        activation_checkpointing=False,
    )


def _learning(model: Baseline, settings: Settings) -> Learning:
    """The rate rises in the warm-up and stays; weights decay as AdamW's do, or in the gradient.

    A decay of 1e-5 is nothing in AdamW, which takes it times the rate. In the gradient of Adam, which divides by the
    gradient's own size, it takes vectors that are seldom met to 0; biases and temperatures are left out there, as in
    the programs of SESRec and UniSAR. beta_2 is .999, as in almost all authors' programs: with less, vectors that are
    seldom met move less.
    """
    named = list(model.named_parameters())
    free = {name for name, _ in named if model.coupled_decay and ("bias" in name or "temperature" in name)}
    groups = [{"params": [weight for name, weight in named if name not in free], "weight_decay": settings.weight_decay}]
    if free:
        groups.append({"params": [weight for name, weight in named if name in free], "weight_decay": 0.0})
    return Learning(
        groups=groups,
        rate=lambda step: min(1.0, (step + 1) / (settings.warmup_steps + 1)),
        coupled_decay=model.coupled_decay,
    )
