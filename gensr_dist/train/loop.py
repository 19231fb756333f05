"""Training of GenSR: steps, validations, checkpoints, early stopping."""

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Literal, NoReturn

import torch
import torch.distributed as dist

from gensr_dist.config.root import Config, resolved_yaml
from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.items import token_idf
from gensr_dist.distributed.rank_log import log_path, rank_log
from gensr_dist.distributed.ranks import Ranks, check_same_shards, join_processes
from gensr_dist.distributed.signals import Stop, StopRequest
from gensr_dist.distributed.watchdog import Watchdog
from gensr_dist.errors import InputError, Paused
from gensr_dist.kernels.dispatch import check_path
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.runs.event_files import forget_events
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import digest, write_json
from gensr_dist.train.checkpoints import Checkpoints, Progress, discard
from gensr_dist.train.conflict import ConflictWatch
from gensr_dist.train.engine import Engine, gensr_learning
from gensr_dist.train.events import TrainingEvents
from gensr_dist.train.export import digest_of_weights, export_model, restore_model
from gensr_dist.train.meter import PhaseClock
from gensr_dist.train.not_finite import CONFIG, MODEL, RECORD, NotFinite, rows_of, save_batches
from gensr_dist.train.objective import Agreement, StepCheck, StepLosses, seed_dropout, step_losses
from gensr_dist.train.prefetcher import Prefetcher
from gensr_dist.train.replay import Player
from gensr_dist.train.report import TrainResult
from gensr_dist.train.reporter import Reporter
from gensr_dist.train.settings import training_settings
from gensr_dist.train.training_rows import training_negatives, training_order
from gensr_dist.train.validation import Validation

LOG = logging.getLogger("gensr_dist.train")


def train(config: Config, run: RunFolder, resume: bool = True) -> TrainResult:
    """Train GenSR on the run's shards and CF vectors; leave the best model in `run.model`.

    Every rank that a launcher started must call it; a process without a launcher trains alone.

    Args:
        config: the whole configuration.
        run: holds the shards and CF vectors; receives checkpoints, event files and the model.
        resume: go on from the newest checkpoint, if there is one. False deletes checkpoints and curves and starts over.

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
        self.events = TrainingEvents(ranks.rank)
        self.config, self.settings, self.run_folder, self.ranks = config, settings, run, ranks
        self.request, self.watchdog, self.clock = request, watchdog, clock
        self.data = data = PreparedData.open(run, config, folds=True)
        check_same_shards([shard.name for shard in data.store.lost], ranks)
        self.tokenizer = data.items.tokenizer
        collator = data.collator(run, config.data.history, config.model)
        self.loader = TrainingLoader(
            collator,
            training_order(self.data.store, self.settings, self.config.seed),
            seed=config.seed,
            negatives=training_negatives(config.data, run, data.items),
            rank=ranks.rank,
            world=ranks.world,
            micro_tokens=settings.micro_tokens,
            workers=settings.workers,
        )
        torch.manual_seed(config.seed)
        model = GenSR.build(
            config.model,
            self.tokenizer,
            data.vectors.width,
            data.vectors.unit_scale(),
            token_idf(data.items.title_IT, len(self.tokenizer)),
        )
        model.backbone.recompute = settings.activation_checkpointing
        self.engine = Engine(model.use_kernels(config.kernels), settings, ranks, gensr_learning(model, settings))
        self.validation = Validation(
            data.store,
            collator,
            self.engine,
            tasks=settings.trained_tasks,
            rows=settings.validate_rows,
            seed=config.seed,
            newest_rows=settings.newest_rows,
        )
        self.checkpoints = Checkpoints(run.checkpoints, self.engine, keep_last=settings.keep_last)
        if not resume:  # and nothing above found fault
            if ranks.first:
                discard(run.checkpoints)
                forget_events(run.tensorboard)
                run.fit.unlink(missing_ok=True)
            dist.barrier()
        self.progress = self.checkpoints.load(self._beginning())
        self.check = StepCheck(ranks.device)
        self.conflict = ConflictWatch(self.engine.model, config, ranks)
        self.engine.model.register_forward_hook(
            lambda *_: watchdog.beat(f"a forward pass after step {self.progress.steps}")
        )
        self.reporter = Reporter(config, run, self.engine, clock, self.progress)
        self.started = time.perf_counter() - self.progress.seconds

    def run(self) -> TrainResult:
        """Train to the last step or to the early stop."""
        self.reporter.announce(self.progress, self.loader.order)
        self.events.add("begin", self.progress.steps)
        if not self._finished:
            batches = self.loader.batches(self.progress.steps, self.settings.steps)
            prefetcher = Prefetcher(batches, self.engine.model.inputs, self.ranks.device)
            while not self._finished:
                with self.reporter.meter.step():
                    learning_rate = self.engine.learning_rate
                    step, losses, stop = self._optimize(prefetcher)
                    self.progress = dataclasses.replace(self.progress, steps=step + 1)
                self.watchdog.beat(f"the end of step {step + 1}")
                self.reporter.advance()
                if self._due(self.settings.log_every):
                    self.reporter.step(self.progress.steps, losses, learning_rate)
                if self._due(self.settings.validate_every):
                    self._validate()
                self.checkpoints.look()
                if self._due(self.settings.checkpoint_every) or self._best_to_keep or stop:
                    self._save()
                if stop and not self._finished:
                    self._finish_saving()
                    self.reporter.time()
                    raise Paused(
                        f"stopped after step {step + 1} of {self.settings.steps} ({stop}); a checkpoint is saved, "
                        "the same command goes on from there"
                    )
            self._finish_saving()
            if self.events:
                self.events.add("weights", self.progress.steps, digest=digest_of_weights(self.engine))
            self.reporter.conclude(self.progress, self.data)
            self.reporter.time()
        return self.reporter.result(self.progress)

    def lost_model(self) -> bool:
        """Whether the best model is gone, cannot be restored from its checkpoint, and no validation will come."""
        make = restore_model(self.checkpoints, self._beginning(), self.progress, self.tokenizer, self.run_folder.model)
        self.progress = make or dataclasses.replace(self.progress, best_step=0, best_ndcg=-1.0)
        return make is None and self._finished

    def close(self) -> None:
        """Release the event files, and let a checkpoint under way be written."""
        self.checkpoints.close()
        self.reporter.close()

    def _optimize(self, prefetcher: Prefetcher) -> tuple[int, StepLosses, Stop]:
        """One optimizer step, its number from 0, and whether to end after it."""
        with self.clock.phase("data"):
            step, micro_batches = prefetcher.take()
        if (cosines := self.conflict.look(step, micro_batches[0][1])) is not None:
            self.reporter.conflict(cosines, step + 1)
        seed_dropout(self.config.seed, step, self.ranks.rank)
        total = StepLosses.zero(self.ranks.device)
        self.check.begin()
        for number, (batch, inputs) in enumerate(micro_batches, start=1):
            with self.clock.phase("forward"):
                last = number == len(micro_batches)
                output: GenSROutput = self.engine.forward(inputs, self.settings.likelihood, last=last)
                losses = step_losses(output, inputs.batch, self.config, self.ranks.world)
            with self.clock.phase("backward"):
                self.engine.backward(losses.to_minimise(self.settings))
            self.check.see(losses)
            self.reporter.see(batch, output, inputs)
            total = total + losses
        with self.clock.phase("data", behind_the_device=True):
            prefetcher.prepare()  # before the host waits for it
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
            self.events.add("update", step + 1, rows=[row for batch, _ in micro_batches for row in rows_of(batch)])
        return step, total, agreed.stop

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
        cf_saw_rows = self.config.model.cf_view and not self.data.vectors.folds
        self.reporter.validation(result, self.progress, cf_saw_rows=cf_saw_rows)

    def _save(self) -> None:
        """Write a checkpoint of this moment."""
        seconds = time.perf_counter() - self.started
        self.progress = dataclasses.replace(
            self.progress, seconds=seconds, train_seconds=self.reporter.meter.train_seconds
        )
        self.watchdog.beat(f"the checkpoint of step {self.progress.steps}")
        self.events.add("checkpoint", self.progress.steps)
        with self.clock.phase("checkpoint"):
            self.checkpoints.save(self.progress)

    def _finish_saving(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        with self.clock.phase("checkpoint"):
            self.checkpoints.finish()

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

    def _beginning(self) -> Progress:
        """Progress of a run that has not begun, with all that it depends on."""
        settings = dict(training_settings(self.config))
        settings["shards"] = digest(self.data.store.manifest)[:16]
        settings["lost shards"] = " ".join(shard.name for shard in self.data.store.lost)
        settings["cf"] = self.data.vectors.digest()[:16]
        return Progress(settings=settings, world=self.ranks.world, zero_stage=self.engine.zero_stage)
