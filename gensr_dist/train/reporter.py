"""What a training tells while it runs and at its end: lines, TensorBoard, `fit.json`. Rank 0 alone speaks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist

from gensr_dist.config.root import Config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.distributed.rank_log import DETAIL
from gensr_dist.evaluation.fit import FitRecord, fit_warnings, keep_fit, read_fit
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.model.inputs import ModelInput
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.train.checkpoints import Progress
from gensr_dist.train.diagnostics import Diagnostics, T5Work, flops_utilisation, t5_flops
from gensr_dist.train.display import Display
from gensr_dist.train.engine import Engine
from gensr_dist.train.meter import Meter, PhaseClock, peak_cuda_memory_gb, peak_memory_gb
from gensr_dist.train.objective import StepLosses
from gensr_dist.train.report import StepReport, TimeReport, TrainResult
from gensr_dist.train.tensorboard import TrainingBoard
from gensr_dist.train.validation import ValidationResult

LOG = logging.getLogger("gensr_dist.train")


@dataclass
class _Shown:
    """What rank 0 has open."""

    board: TrainingBoard
    display: Display
    fit: FitRecord | None


class Reporter:
    """Every rank must make the same calls: sums over ranks are behind them."""

    def __init__(
        self, config: Config, run: RunFolder, engine: Engine[GenSR], clock: PhaseClock, progress: Progress
    ) -> None:
        self.config, self.run, self.engine, self.clock, self.ranks = config, run, engine, clock, engine.ranks
        self.meter = Meter(clock, progress.train_seconds)
        self.diagnostics = Diagnostics(self.ranks.device)
        self.shown: _Shown | None = None
        if self.ranks.first:
            self.shown = _Shown(
                board=TrainingBoard(run, progress.steps),
                display=Display(config.train.steps, progress.steps, self._candidates_of_step),
                fit=read_fit(run.fit) if progress.steps else None,
            )

    def announce(self, progress: Progress, order: SampleOrder) -> None:
        """The training begins."""
        DETAIL.info(f"training begins after step {progress.steps}")
        if self.shown is None:
            return
        settings = self.config.train
        if progress.steps:
            LOG.info(f"resuming after step {progress.steps} of {settings.steps}")
        else:
            self.shown.board.config(self.config)
        parameters = sum(getattr(p, "ds_numel", p.numel()) for p in self.engine.model.parameters())
        LOG.info(
            f"{parameters:,} parameters, {order.rows:,} training rows, {order.steps_per_epoch:,} steps an epoch, "
            f"{self.ranks.world} ranks on {self.ranks.device.type}, ZeRO-{self.engine.zero_stage}, {settings.precision}"
        )

    def see(self, batch: Batch, output: GenSROutput, inputs: ModelInput) -> None:
        """Count a micro-batch; `batch` still lies on the host."""
        self.meter.count(batch)
        self.diagnostics.see(output, inputs)

    def advance(self) -> None:
        """A step is done."""
        if self.shown is not None:
            self.shown.display.advance()

    def step(self, steps: int, losses: StepLosses, learning_rate: float) -> None:
        """Tell of a step.

        Args:
            steps: finished.
            losses: of this rank's micro-batches of the last one.
            learning_rate: of the last one.
        """
        values = losses.of_all_ranks(self.ranks.world)
        gradient_norm = self.engine.gradient_norm
        speed = self.meter.read()
        DETAIL.info(
            f"step {steps}: {speed.candidates} candidates in {speed.seconds:.3f} s, "
            f"of them {speed.waited:.3f} s for the loader"
        )
        totals = torch.tensor([speed.candidates, speed.tokens], dtype=torch.float64, device=self.ranks.device)
        dist.all_reduce(totals)
        tasks, work = self.diagnostics.read()
        if self.shown is None:
            return
        candidates, tokens = totals.tolist()
        report = StepReport(
            steps=steps,
            losses=values,
            total=values.to_minimise(self.config.train),
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            candidates_per_second=candidates / speed.seconds if speed.seconds else 0.0,
            tokens_per_second=tokens / speed.seconds if speed.seconds else 0.0,
            wait_share=speed.waited / speed.seconds if speed.seconds else 0.0,
            memory_gb=peak_memory_gb(),
            cuda_memory_gb=peak_cuda_memory_gb(),
            tasks=tasks,
            flops_utilisation=self._flops_utilisation(work, speed.seconds),
        )
        self.shown.board.step(report)
        self.shown.display.report(report)

    def validation(self, result: ValidationResult, progress: Progress, *, cf_saw_rows: bool) -> None:
        """Tell of a validation, and keep what it found of training rows beside validation rows.

        Args:
            result: of it.
            progress: with it.
            cf_saw_rows: training rows read vectors that their own edges have shaped.
        """
        if self.shown is None:
            return
        self.shown.board.validation(result, progress.steps)
        self.shown.fit = keep_fit(
            self.run.fit,
            self.shown.fit,
            result.after(progress.steps),
            is_best=progress.best_step == progress.steps,
            cf_saw_rows=cf_saw_rows,
        )
        steps = f"step {progress.steps}/{self.config.train.steps}"
        LOG.info(f"{steps}  validation {result}, best step {progress.best_step}")

    def conflict(self, cosines: Mapping[str, float], steps: int) -> None:
        """Tell of the cosines of both tasks' gradients, by layer."""
        if self.shown is not None:
            self.shown.board.conflict(cosines, steps)

    def conclude(self, progress: Progress, data: PreparedData) -> None:
        """What TensorBoard shows of the whole run, once its last checkpoint is written."""
        if self.shown is None:
            return
        board = self.shown.board
        board.outcome(progress.settings, best_ndcg=progress.best_ndcg, best_step=progress.best_step)
        model = GenSR.from_pretrained(self.run.model)
        board.item_projector(model, data.items, data.vectors.whole_IE, self.config.seed)
        if progress.stopped_early:
            LOG.info(f"stopped early: no better validation since step {progress.best_step}")

    def time(self) -> None:
        """Where the time of this start went, on every rank."""
        line = TimeReport.of(self.clock).line()
        (LOG if self.ranks.first else DETAIL).info(line)

    def result(self, progress: Progress) -> TrainResult:
        """Of the training so far."""
        candidates = progress.steps * self._candidates_of_step
        seconds = self.meter.train_seconds
        return TrainResult(
            steps=progress.steps,
            best_step=progress.best_step,
            best_ndcg=progress.best_ndcg,
            stopped_early=progress.stopped_early,
            seconds=round(progress.seconds, 3),
            candidates_per_second=round(candidates / seconds, 1) if seconds else 0.0,
            ranks=self.ranks.world,
            warnings=fit_warnings(self.shown.fit if self.shown is not None else None),
            time=TimeReport.of(self.clock),
        )

    def close(self) -> None:
        """Release the event files and the terminal."""
        if self.shown is not None:
            self.shown.board.close()
            self.shown.display.close()

    @property
    def _candidates_of_step(self) -> int:
        """The short last step of an epoch aside."""
        return self.config.train.batch * (1 + self.config.data.train_negatives)

    def _flops_utilisation(self, work: T5Work, seconds: float) -> float | None:
        """Of GPUs that compute in bf16."""
        device = self.ranks.device
        if device.type != "cuda" or self.config.train.precision != "bf16":
            return None
        flops = t5_flops(self.engine.model.backbone.t5, work)
        return flops_utilisation(flops, seconds, self.ranks.world, torch.cuda.get_device_name(device))
