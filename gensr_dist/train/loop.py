"""Training of GenSR: steps, validations, checkpoints, early stopping."""

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Literal, NoReturn

import torch
import torch.distributed as dist

from gensr_dist.config.root import Config, digest, resolved_yaml
from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.items import ItemStore, token_idf
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.rank_log import DETAIL, log_path, rank_log
from gensr_dist.distributed.ranks import Ranks, check_same_shards, join_processes
from gensr_dist.distributed.signals import Stop, StopRequest
from gensr_dist.distributed.watchdog import Watchdog
from gensr_dist.errors import InputError, Paused
from gensr_dist.evaluation.fit import FitRecord, fit_warnings, keep_fit, read_fit
from gensr_dist.graph.vectors import load_cf
from gensr_dist.kernels.dispatch import check_path
from gensr_dist.model.gensr import GenSR
from gensr_dist.run.event_files import forget_events
from gensr_dist.run.folder import RunFolder
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import write_json
from gensr_dist.train.checkpoints import Checkpoints, Progress, discard
from gensr_dist.train.engine import Engine
from gensr_dist.train.events import EventLog, rows_digest
from gensr_dist.train.export import digest_of_weights, export_model, restore_model
from gensr_dist.train.feed import Feed
from gensr_dist.train.meter import Meter, PhaseClock, peak_cuda_memory_gb, peak_memory_gb
from gensr_dist.train.negatives import training_negatives
from gensr_dist.train.not_finite import CONFIG, MODEL, RECORD, NotFinite, save_batches
from gensr_dist.train.objective import Agreement, StepCheck, StepLosses, seed_dropout, step_losses
from gensr_dist.train.replay import Player
from gensr_dist.train.report import StepReport, TimeReport, TrainResult
from gensr_dist.train.settings import training_settings
from gensr_dist.train.tensorboard import TrainingBoard
from gensr_dist.train.validation import Validation

LOG = logging.getLogger("gensr_dist.train")


def train(config: Config, run: RunFolder, resume: bool = True) -> TrainResult:
    """Train GenSR on the run's shards and CF vectors; leave the best model in `run.model`.

    Every rank that a launcher started must call it; a process without a launcher trains alone.

    Args:
        config: the whole configuration.
        run: holds the shards and CF vectors; receives checkpoints, event files and the model.
        resume: go on from the newest checkpoint, if there is one. False deletes checkpoints and curves and starts anew.

    Raises:
        InputError: an earlier stage's result is missing or broken, the batch cannot be cut evenly, the checkpoints
            belong to other settings, or a loss or gradient is not finite.
        Paused: a signal or `train.max_hours` asked to end; a checkpoint of the last step is there.
    """
    check_path(config.kernels)
    ranks = join_processes()
    with (
        rank_log(run.logs, ranks),
        StopRequest(config.train.max_hours, decides=ranks.first) as request,
        Watchdog(config.train.stall_minutes * 60, log_path(run.logs, ranks.rank), ranks.rank) as watchdog,
    ):
        clock = PhaseClock(ranks.device)
        training = _Training(config, run, ranks, request, watchdog, clock, resume)
        if training.lost_model():
            training.close()
            training = _Training(config, run, ranks, request, watchdog, clock, resume=False)
        try:
            with clock.collectives():
                return training.run()
        finally:
            training.close()


class _Training:
    """The parts of one training run and how far it is."""

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        ranks: Ranks,
        request: StopRequest,
        watchdog: Watchdog,
        clock: PhaseClock,
        resume: bool,
    ) -> None:
        settings = config.train
        self.events = EventLog(ranks.rank)
        self.config, self.settings, self.run_folder, self.ranks = config, settings, run, ranks
        self.request, self.watchdog, self.clock = request, watchdog, clock
        self.store = store = TimelineStore.open(
            run.shards, shuffle_shards=config.data.shuffle_shards, on_corrupt=config.data.on_corrupt
        )
        check_same_shards([shard.name for shard in store.lost], ranks)
        self.items = ItemStore.open(run.shards)
        self.vectors, _ = load_cf(run.cf, folds=True)
        self.tokenizer = self.items.tokenizer
        collator = Collator(store, self.items, self.vectors, config.data.history)
        self.loader = TrainingLoader(
            collator,
            SampleOrder(store.window_rows, settings.batch, config.seed),
            seed=config.seed,
            negatives=training_negatives(config.data, run, self.items),
            rank=ranks.rank,
            world=ranks.world,
            micro_tokens=settings.micro_tokens,
            workers=settings.workers,
        )
        torch.manual_seed(config.seed)
        model = GenSR.build(
            config.model,
            self.tokenizer,
            self.vectors.width,
            self.vectors.unit_scale(),
            token_idf(self.items.title_IT, len(self.tokenizer)),
        )
        self.engine = Engine(model.use_kernels(config.kernels), settings, ranks)
        self.validation = Validation(store, collator, self.engine, rows=settings.validate_rows, seed=config.seed)
        self.checkpoints = Checkpoints(run.checkpoints, self.engine, keep_last=settings.keep_last)
        if not resume:  # and nothing above found fault
            if ranks.first:
                discard(run.checkpoints)
                forget_events(run.tensorboard)
                run.fit.unlink(missing_ok=True)
            dist.barrier()
        self.progress = self.checkpoints.load(self._beginning())
        self.meter = Meter(clock, self.progress.train_seconds)
        self.check = StepCheck(ranks.device)
        self.engine.model.register_forward_hook(
            lambda *_: watchdog.beat(f"a forward pass after step {self.progress.steps}")
        )
        self.board: TrainingBoard | None = None
        self.fit: FitRecord | None = None
        if ranks.first:
            self.board = TrainingBoard(run, self.progress.steps)
            self.fit = read_fit(run.fit) if self.progress.steps else None
        self.started = time.perf_counter() - self.progress.seconds

    def run(self) -> TrainResult:
        """Train to the last step or to the early stop."""
        self._announce()
        if not self._finished:
            batches = self.loader.batches(self.progress.steps, self.settings.steps)
            feed = Feed(batches, self.engine.model.inputs, self.ranks.device)
            while not self._finished:
                with self.meter.step():
                    learning_rate = self.engine.learning_rate
                    step, losses, stop = self._optimize(feed)
                    self.progress = dataclasses.replace(self.progress, steps=step + 1)
                self.watchdog.beat(f"the end of step {step + 1}")
                if self._due(self.settings.log_every):
                    self._report(losses, learning_rate)
                if self._due(self.settings.validate_every):
                    self._validate()
                self.checkpoints.look()
                if self._due(self.settings.checkpoint_every) or self._best_to_keep or stop:
                    self._save()
                if stop and not self._finished:
                    self._finish_saving()
                    self._tell_time()
                    raise Paused(
                        f"stopped after step {step + 1} of {self.settings.steps} ({stop}); a checkpoint is saved, "
                        "the same command goes on from there"
                    )
            self._finish_saving()
            if self.events:
                self.events.add("weights", self.progress.steps, digest_of_weights(self.engine))
            self._conclude()
            self._tell_time()
        return self._result()

    def lost_model(self) -> bool:
        """Whether the best model is gone, cannot be made again of its checkpoint, and no validation will come."""
        make = restore_model(self.checkpoints, self._beginning(), self.progress, self.tokenizer, self.run_folder.model)
        self.progress = make or dataclasses.replace(self.progress, best_step=0, best_ndcg=-1.0)
        return make is None and self._finished

    def close(self) -> None:
        """Release the event files, and let a checkpoint under way be written."""
        self.checkpoints.close()
        if self.board is not None:
            self.board.close()

    def _optimize(self, feed: Feed) -> tuple[int, StepLosses, Stop]:
        """One optimizer step, its number from 0, and whether to end after it."""
        with self.clock.phase("data"):
            step, micro_batches = feed.take()
        seed_dropout(self.config.seed, step, self.ranks.rank)
        total = StepLosses.zero(self.ranks.device)
        self.check.begin()
        for number, (batch, inputs) in enumerate(micro_batches, start=1):
            self.meter.count(batch)
            with self.clock.phase("forward"):
                output = self.engine.forward(inputs, last=number == len(micro_batches))
                losses = step_losses(output, inputs.batch, self.config, self.ranks.world)
            with self.clock.phase("backward"):
                self.engine.backward(losses.to_minimise(self.settings))
            self.check.see(losses)
            total = total + losses
        with self.clock.phase("data", behind_the_device=True):
            feed.prepare()  # before the host waits for it
        with self.clock.phase("update"):
            agreed = self.check.agree(self.engine.norm_before_update, self.request.reason)
        if not agreed.finite:
            self._refuse_update(step, agreed, [batch for batch, _ in micro_batches])
        with self.clock.phase("update"):
            updated = self.engine.step()
        if not updated:
            agreed = dataclasses.replace(agreed, gradient_finite=False)
            self._refuse_update(step, agreed, [batch for batch, _ in micro_batches])
        self.clock.settle()
        if self.events:
            self.events.add("rows", step + 1, rows_digest([batch for batch, _ in micro_batches]))
        return step, total, agreed.stop

    def _report(self, losses: StepLosses, learning_rate: float) -> None:
        """Log the step."""
        shown = losses.of_all_ranks(self.ranks.world)
        gradient_norm = self.engine.gradient_norm
        speed = self.meter.read()
        DETAIL.info(
            f"step {self.progress.steps} {speed.rows} prompts in {speed.seconds:.3f} s, "
            f"of them {speed.waited:.3f} s for the loader"
        )
        totals = torch.tensor([speed.rows, speed.tokens], dtype=torch.float64, device=self.ranks.device)
        dist.all_reduce(totals)
        if self.board is None:
            return
        rows, tokens = totals.tolist()
        report = StepReport(
            steps=self.progress.steps,
            losses=shown,
            total=shown.total(self.settings),
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            rows_per_second=rows / speed.seconds if speed.seconds else 0.0,
            tokens_per_second=tokens / speed.seconds if speed.seconds else 0.0,
            wait_share=speed.waited / speed.seconds if speed.seconds else 0.0,
            memory_gb=peak_memory_gb(),
            cuda_memory_gb=peak_cuda_memory_gb(),
        )
        self.board.step(report)
        LOG.info(report.line(self.settings.steps, self._rows_of_step))

    def _validate(self) -> None:
        """Validate; export the weights if they are the best so far; stop early after too many without gain."""
        self.events.add("validation", self.progress.steps)
        with self.clock.phase("validation"):
            result = self.validation.run()
        self.events.add("validated", self.progress.steps)
        progress = self.progress
        if result.ndcg > progress.best_ndcg:
            export_model(self.engine, self.tokenizer, self.run_folder.model)
            self.progress = dataclasses.replace(
                progress, best_step=progress.steps, best_ndcg=result.ndcg, validations_without_gain=0
            )
        else:
            without_gain = progress.validations_without_gain + 1
            self.progress = dataclasses.replace(
                progress,
                validations_without_gain=without_gain,
                stopped_early=without_gain >= self.settings.patience,
            )
        if self.board is not None:
            self.board.validation(result, progress.steps)
            self.fit = keep_fit(
                self.run_folder.fit,
                self.fit,
                result.after(progress.steps),
                is_best=self.progress.best_step == progress.steps,
                cf_saw_rows=self.config.model.cf_view and not self.vectors.folds,
            )
            LOG.info(
                f"step {progress.steps}/{self.settings.steps}  validation {result}, best step {self.progress.best_step}"
            )

    def _save(self) -> None:
        """Write a checkpoint of this moment."""
        seconds = time.perf_counter() - self.started
        self.progress = dataclasses.replace(self.progress, seconds=seconds, train_seconds=self.meter.train_seconds)
        self.watchdog.beat(f"the checkpoint of step {self.progress.steps}")
        self.events.add("checkpoint", self.progress.steps)
        with self.clock.phase("checkpoint"):
            self.checkpoints.save(self.progress)

    def _finish_saving(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        with self.clock.phase("checkpoint"):
            self.checkpoints.finish()

    def _conclude(self) -> None:
        """What TensorBoard shows of the whole run."""
        if self.board is None:
            return
        progress = self.progress
        self.board.outcome(progress.settings, best_ndcg=progress.best_ndcg, best_step=progress.best_step)
        model = GenSR.from_pretrained(self.run_folder.model)
        self.board.item_projector(model, self.items, self.vectors.whole_IE, self.config.seed)
        if progress.stopped_early:
            LOG.info(f"stopped early: no better validation since step {progress.best_step}")

    def _announce(self) -> None:
        DETAIL.info(f"training begins after step {self.progress.steps}")
        self.events.add("begin", self.progress.steps)
        if self.board is None:
            return
        if self.progress.steps:
            LOG.info(f"resuming after step {self.progress.steps} of {self.settings.steps}")
        else:
            self.board.config(self.config)
        parameters = sum(getattr(p, "ds_numel", p.numel()) for p in self.engine.model.parameters())
        LOG.info(
            f"{parameters:,} parameters, {self.loader.order.rows:,} training rows, "
            f"{self.loader.order.steps_per_epoch:,} steps an epoch, {self.ranks.world} ranks on "
            f"{self.ranks.device.type}, ZeRO-{self.engine.zero_stage}, {self.settings.precision}"
        )

    @property
    def _rows_of_step(self) -> int:
        """Prompts of a step; the short last one of an epoch aside."""
        return self.settings.batch * (1 + self.config.data.train_negatives)

    def _due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return self.progress.steps % every == 0 or self._finished

    @property
    def _best_to_keep(self) -> bool:
        """Whether the validation of this step was the best so far."""
        return self.progress.best_step == self.progress.steps

    @property
    def _finished(self) -> bool:
        return self.progress.stopped_early or self.progress.steps >= self.settings.steps

    def _refuse_update(self, step: int, agreed: Agreement, batches: Sequence[Batch]) -> NoReturn:
        """End before an update that would spoil the weights; leave what `gensr replay` needs. Every rank calls it."""
        folder, ranks = self.run_folder.not_finite, self.ranks
        what: Literal["loss", "gradient"] = "gradient" if agreed.losses_finite else "loss"
        if ranks.first:
            (folder / RECORD).unlink(missing_ok=True)  # of another step
        export_model(self.engine, self.tokenizer, folder / MODEL)
        save_batches(folder, ranks.rank, batches)
        dist.barrier()
        rows = tuple(self.loader.order.rows_of_step(step).tolist())
        record = NotFinite(what=what, step=step + 1, ranks=ranks.world, rows=rows, seed=self.config.seed)
        own = self.check.first_bad() if what == "loss" else self._first_bad_gradient(step, len(batches))
        mine = None
        if own is not None:
            mine = record.of_micro_batch(ranks.rank, own, batches[own], self.check.losses_of(own))
        found: list[NotFinite | None] = [None] * ranks.world
        dist.all_gather_object(found, mine)
        record = record.first_of(found)
        if ranks.first:
            with durable_file(folder / CONFIG) as config:
                config.write_text(resolved_yaml(self.config), encoding="utf-8")
            write_json(folder / RECORD, record)
        dist.barrier()
        raise InputError("train", record.sentence(), record.remedy(self.run_folder.root, self.settings))

    def _first_bad_gradient(self, step: int, micro_batches: int) -> int | None:
        """This rank's first micro-batch whose own gradient is not finite: they are averaged over the ranks by now."""
        player = Player(self.config, self.run_folder.not_finite, step + 1, self.ranks.world, self.ranks.device)
        for number in range(micro_batches):
            self.watchdog.beat(f"the replay of micro-batch {number} of step {step + 1}")
            if player.play(self.ranks.rank, number).origin is not None:
                return number
        return None

    def _tell_time(self) -> None:
        """Where the time of this start went, on every rank."""
        line = TimeReport.of(self.clock).line()
        (LOG if self.ranks.first else DETAIL).info(line)

    def _beginning(self) -> Progress:
        """Progress of a run that has not begun, with all that it depends on."""
        settings = dict(training_settings(self.config))
        settings["shards"] = digest(self.store.manifest)[:16]
        settings["lost shards"] = " ".join(shard.name for shard in self.store.lost)
        settings["cf"] = self.vectors.digest()[:16]
        return Progress(settings=settings, world=self.ranks.world, zero_stage=self.engine.zero_stage)

    def _result(self) -> TrainResult:
        progress = self.progress
        rows = progress.steps * self._rows_of_step
        return TrainResult(
            steps=progress.steps,
            best_step=progress.best_step,
            best_ndcg=progress.best_ndcg,
            stopped_early=progress.stopped_early,
            seconds=round(progress.seconds, 3),
            rows_per_second=round(rows / self.meter.train_seconds, 1) if self.meter.train_seconds else 0.0,
            ranks=self.ranks.world,
            warnings=fit_warnings(self.fit),
            time=TimeReport.of(self.clock),
        )
