"""The stages of a run, from raw log to evaluated answers. Each stage's own code is imported only when it runs."""

import dataclasses
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from gensr_dist.config.root import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.errors import InputError, printable
from gensr_dist.run.folder import RunFolder
from gensr_dist.run.records import (
    Recorder,
    StageName,
    StageRecord,
    check_inputs,
    finished_record,
    locked,
    plan,
    record_path,
    what_differs,
)
from gensr_dist.storage.folder import Folder

Say = Callable[[str], None]  # shows a line to the user

EXAMPLE_USERS = 3
EXAMPLE_ANSWERS = 3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage tells: lines for people, plain values for programs."""

    summary: tuple[str, ...]
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a command of one stage did."""

    stage: StageName
    run: str
    skipped: bool
    seconds: float  # when it ran
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What `gensr run` did."""

    run: str
    done: tuple[StageName, ...]
    skipped: tuple[StageName, ...]
    seconds: float
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # result of each stage


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Who does the work of `prepare`; the shards do not depend on it."""

    engine: Literal["local", "ray"] = "local"
    address: str = ""  # of a Ray cluster; empty starts one on this machine
    workers: int = os.cpu_count() or 1  # processes of the local engine


def run_stage(stage: StageName, config: Config, say: Say, preparation: Preparation = Preparation()) -> StageResult:
    """Run one stage, unless its last finished run had the same settings and inputs.

    Damaged shards are prepared again, as the messages about them advise.

    Raises:
        InputError: an earlier stage has not run, or ran with other settings; or what the stage itself finds wrong.
    """
    run = RunFolder.of(config)
    with locked(run):
        check_inputs(stage, config, run)
        earlier = finished_record(stage, config, run)
        if stage == "prepare" and earlier is not None and not _whole(run.shards, say):
            earlier = None
        if earlier is not None:
            say(
                f"{stage}: unchanged, skipped ({earlier.seconds:.1f} s when it ran); "
                f"delete {record_path(stage, run)} to do it again"
            )
            _tell_summary(earlier, say)
            record = earlier
        else:
            record = _do(stage, config, run, say, preparation)
            _tell(record, say)
        return StageResult(
            stage=stage,
            run=str(run.root),
            skipped=earlier is not None,
            seconds=record.seconds,
            result=record.result,
        )


def run_all(config: Config, say: Say) -> RunResult:
    """Run every stage whose settings or inputs changed, then show results, examples and where to look.

    Raises:
        InputError: what a stage finds wrong.
    """
    run = RunFolder.of(config)
    started = time.monotonic()
    records: dict[StageName, StageRecord] = {}
    done: list[StageName] = []
    with locked(run):
        for stage in plan(config):
            record = finished_record(stage, config, run)
            if record is not None:
                say(f"{stage}: unchanged, skipped ({record.seconds:.1f} s when it ran)")
            else:
                record = _do(stage, config, run, say, Preparation())
                done.append(stage)
                if stage != "evaluate":  # its tables stand at the end
                    _tell(record, say)
            records[stage] = record
    say("")
    (_tell if "evaluate" in done else _tell_summary)(records["evaluate"], say)
    _show_examples(config, run, say)
    say(f"watch the training:  tensorboard --logdir {shlex.quote(str(run.tensorboard))}")
    say(f"the whole report:    {run.report}")
    return RunResult(
        run=str(run.root),
        done=tuple(done),
        skipped=tuple(stage for stage in records if stage not in done),
        seconds=round(time.monotonic() - started, 3),
        stages={stage: record.result for stage, record in records.items()},
    )


def verify_shards(place: str, say: Say) -> Any:
    """Check a shard folder against its manifest; returns `data.verify.VerifyReport`.

    Raises:
        InputError: the first fault.
    """
    from gensr_dist.data.shards.verify import verify
    from gensr_dist.storage.cache import Cache

    defaults = DataConfig()
    report = verify(Folder.at(place, Cache.at(defaults.cache, defaults.cache_gb)))
    say(f"{place}: whole; {_sentence(dataclasses.asdict(report))}")
    return report


def _whole(shards: Folder, say: Say) -> bool:
    """Whether no file of a prepared folder is missing or damaged; says what is."""
    from gensr_dist.data.shards.verify import check_files

    try:
        check_files(shards)
    except InputError as fault:
        say(f"prepare: {fault.where}: {fault.problem}")
        return False
    return True


def replay_run(run: RunFolder, say: Say) -> Any:
    """Do again what stopped a training; returns `train.replay.Replay`.

    Raises:
        InputError: the run was not stopped by a loss or gradient that was not finite.
    """
    from gensr_dist.train.replay import replay

    replayed = replay(run)
    origin = replayed.origin
    say(
        f"step {replayed.step}, rank {replayed.rank}, micro-batch {replayed.micro_batch}, {len(replayed.rows)} rows: "
        f"losses of task {replayed.task}, contrast {replayed.contrastive}, match {replayed.match}"
    )
    if origin is None:
        say("everything was finite this time")
    else:
        say(
            f"first not finite: {origin.kind} {origin.name} {list(origin.shape)}, {origin.not_finite:,} of "
            f"{origin.elements:,} elements"
        )
    return replayed


def _do(stage: StageName, config: Config, run: RunFolder, say: Say, preparation: Preparation) -> StageRecord:
    say(f"{stage}: running")
    recorder = Recorder(stage, config, run)
    if recorder.earlier is not None and recorder.earlier.finished and (why := what_differs(stage, config, run)):
        say(f"{stage}: {why}" + ("" if recorder.resume else "; it starts anew"))
    works: dict[StageName, Callable[[Config, RunFolder], Outcome]] = {
        "simulate": _simulate,
        "prepare": partial(_prepare, preparation=preparation),
        "lightgcn": partial(_lightgcn, resume=recorder.resume),
        "channels": _channels,
        "train": partial(_train, resume=recorder.resume),
        "index": _index,
        "evaluate": _evaluate,
    }
    with recorder:
        outcome = works[stage](config, run)
        return recorder.finish(outcome.summary, outcome.result)


def _tell(record: StageRecord, say: Say) -> None:
    say(f"{record.stage}: done in {record.seconds:.1f} s")
    _tell_summary(record, say)


def _tell_summary(record: StageRecord, say: Say) -> None:
    for line in record.summary:
        say(f"  {line}" if line else "")


def _simulate(config: Config, run: RunFolder) -> Outcome:
    from gensr_dist.data.sources.simulate import simulate

    return _outcome(simulate(config.simulate, config.seed, run.raw))


def _prepare(config: Config, run: RunFolder, preparation: Preparation) -> Outcome:
    raw = Folder.at(run.raw_log(config))
    from gensr_dist.data.preparation.prepare import prepare

    prompts = (config.model.prompts.recommendation, config.model.prompts.search)
    phrases = [re.sub(r"\{\w*\}", " ", prompt) for prompt in prompts]
    return _outcome(prepare(_engine(config, raw, preparation), config.data, config.seed, run.shards, phrases))


def _engine(config: Config, raw: Folder, preparation: Preparation) -> Any:
    """The engine of `prepare`, a `data.preparation.engine.Engine`."""
    if preparation.engine == "ray":
        from gensr_dist.data.preparation.ray_engine import RayEngine

        return RayEngine(raw.place, preparation.address)
    from gensr_dist.data.preparation.local_engine import LocalEngine
    from gensr_dist.data.sources import read_source

    return LocalEngine(read_source(config.data, raw.place), preparation.workers)


def _lightgcn(config: Config, run: RunFolder, *, resume: bool) -> Outcome:
    from gensr_dist.graph.stage import lightgcn

    result = lightgcn(config, run, resume=resume)
    return Outcome(summary=result.summary(), result=dataclasses.asdict(result))


def _channels(config: Config, run: RunFolder) -> Outcome:
    from gensr_dist.data.items import ItemStore
    from gensr_dist.data.shards.store import TimelineStore
    from gensr_dist.retrieval.channels.stage import build_channels

    data = config.data
    store = TimelineStore.open(run.shards, shuffle_shards=data.shuffle_shards, on_corrupt=data.on_corrupt)
    return _outcome(build_channels(store, ItemStore.open(run.shards), run.channels))


def _train(config: Config, run: RunFolder, *, resume: bool) -> Outcome:
    from gensr_dist.train.loop import train

    return _outcome(train(config, run, resume=resume))


def _index(config: Config, run: RunFolder) -> Outcome:
    from gensr_dist.retrieval.stage import index_run
    from gensr_dist.train.trained_run import TrainedRun

    result = index_run(TrainedRun.open(run, config), config)
    outcome = _outcome(result.index)
    return Outcome(
        summary=(*outcome.summary, *result.lines(), *(f"warning: {line}" for line in result.warnings)),
        result={**outcome.result, "orders": dataclasses.asdict(result)["orders"], "warnings": result.warnings},
    )


def _evaluate(config: Config, run: RunFolder) -> Outcome:
    from gensr_dist.evaluation.fit import fit_warnings
    from gensr_dist.evaluation.report import TASK_TITLES, metrics_json, results_table
    from gensr_dist.evaluation.stage import evaluate
    from gensr_dist.retrieval.candidate_recall import evaluate_candidates
    from gensr_dist.retrieval.catalogue import evaluate_catalogue
    from gensr_dist.retrieval.stage import open_ranker
    from gensr_dist.train.trained_run import TrainedRun

    trained = TrainedRun.open(run, config)
    if config.evaluation.compile:
        trained.compile()
    ranker = open_ranker(trained, config)
    catalogue = evaluate_catalogue(trained, ranker, config.retrieval.candidates, config.evaluation, config.seed)
    candidates = evaluate_candidates(trained, ranker.generator, config.evaluation, config.seed)
    result = evaluate(trained, config.evaluation, config.seed, catalogue=catalogue, candidates=candidates)
    lines: list[str] = []
    for task, title in TASK_TITLES.items():
        if task in result.gensr:
            lines += [
                f"{title}, {result.gensr[task].count:,} rows, 1 positive and {result.protocol.negatives} negatives"
            ]
            lines += [*_aligned(results_table(result, task)), ""]
        else:
            lines += [f"{title}: no {result.protocol.split} row", ""]
    lines += [f"warning: {line}" for line in fit_warnings(result.fit)]
    return Outcome(summary=tuple(lines), result=metrics_json(result))


def _show_examples(config: Config, run: RunFolder, say: Say) -> None:
    """What three users of the test split get, so that the numbers have a face."""
    import numpy as np

    from gensr_dist.data.events import Behaviour
    from gensr_dist.data.timelines.splits import Split
    from gensr_dist.retrieval.answer import Answerer
    from gensr_dist.train.trained_run import TrainedRun

    trained = TrainedRun.open(run, config)
    items, store = trained.items, trained.store
    answerer = Answerer(trained, config)
    rows = store.eval_rows(Split.TEST, Behaviour.SEARCH)
    if not len(rows):
        rows = store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    _, first = np.unique(rows.user_R, return_index=True)
    spread = np.unique(np.linspace(0, len(first) - 1, EXAMPLE_USERS).round().astype(int))
    for row in first[spread].tolist():
        user, query = items.users[int(rows.user_R[row])], int(rows.query_R[row])
        user_G = rows.user_R[row : row + 1]
        history_L = store.gather_histories(user_G, store.history_span(user_G)[1], EXAMPLE_ANSWERS)[0][0]
        say(printable(f"user {user}"))
        _say_items("liked last", [items.texts[item] for item in history_L.tolist() if item >= 0], say)
        recommended = answerer.recommend(user, EXAMPLE_ANSWERS)
        _say_items("recommended", [f"{found.text}  ({found.score:.3f})" for found in recommended.items], say)
        if query >= 0 and items.queries[query].split():
            found_items = answerer.search(user, items.queries[query], EXAMPLE_ANSWERS).items
            texts = [f"{found.text}  ({found.score:.3f})" for found in found_items]
            _say_items(f"searches '{items.queries[query]}'", texts, say)
        say("")


def _say_items(title: str, texts: list[str], say: Say) -> None:
    say(printable(f"  {title}:"))
    for text in texts:
        say(printable(f"    - {text}"))


def _outcome(result: Any) -> Outcome:
    values = dataclasses.asdict(result)
    repairs = [f"{repair['count']:,} {repair['what']}" for repair in values.get("repairs", ())]
    warnings = [f"warning: {line}" for line in values.get("warnings", ())]
    return Outcome(summary=(_sentence(values), *repairs, *warnings), result=values)


def _aligned(table: list[str]) -> list[str]:
    """A Markdown table as columns for a terminal."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if not line.startswith("| ---")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _sentence(values: Mapping[str, Any]) -> str:
    """`users 600, items 1,200, recall_at_20 0.31`: the plain values among `values`."""
    parts = []
    for key, value in values.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            parts.append(f"{name} ({_sentence(value)})")
        elif isinstance(value, bool) or value is None:
            parts.append(f"{name} {'none' if value is None else 'yes' if value else 'no'}")
        elif isinstance(value, int):
            parts.append(f"{name} {value:,}")
        elif isinstance(value, float) and key != "seconds":
            parts.append(f"{name} {value:.4g}")
    return ", ".join(parts)
