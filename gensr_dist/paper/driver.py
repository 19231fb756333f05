"""`gensr paper`: everything that a run needs for the paper's tables and figures, in order, then the report."""

import time
from collections.abc import Mapping

from tqdm import tqdm

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import Finding, read_finding
from gensr_dist.analysis.registry import ANALYSES
from gensr_dist.analysis.subject import DEFAULT_PEER, Peer
from gensr_dist.baselines.result import BaselineResult
from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.paper.findings import ablation_finding, performance, sweep_finding
from gensr_dist.paper.report import PaperResult, write_paper
from gensr_dist.paper.trainings import study_of, with_checkpoints
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.analysis import Analysed
from gensr_dist.stages.baseline import TrainedBaseline
from gensr_dist.stages.order import plan
from gensr_dist.stages.runner import Say, run_stage
from gensr_dist.storage.records import read_json, read_record
from gensr_dist.study.driver import run_study
from gensr_dist.study.engines import TrialEngine
from gensr_dist.study.result import StudyResult
from gensr_dist.study.settings import baseline_settings

_ORDER = ("mutual-information", "subspaces", "gradient-conflict")  # before the ablations, as in the paper
_REMEDY = "run `gensr paper` again"


def make_paper(config: Config, engine: TrialEngine, say: Say) -> PaperResult:
    """Do what is not done, and write RUN/paper.

    Raises:
        InputError: a stage or an analysis cannot use what it is given.
        Paused: a training was asked to end; the same command goes on.
    """
    began = time.monotonic()
    try:
        settings = baseline_settings(DEFAULT_PEER, config.paper.peer.split())
    except InputError as error:
        place = error.where.removeprefix("--set ")
        raise InputError("paper.peer", f"{place}: {error.problem}", error.remedy) from None
    run = RunFolder.of(config)
    study = study_of(config, run)
    config = with_checkpoints(config)  # whose trainings are looked at; those of the study are not
    stages = plan(config)
    total = len(stages) + 1 + len(ANALYSES) + len(study.labels) * config.paper.seeds
    with tqdm(total=total, desc="paper", unit="part", disable=None) as bar:
        for stage in stages:
            run_stage(stage, config, say)
            bar.update()
        run_stage(TrainedBaseline(DEFAULT_PEER, settings), config, say)
        bar.update()
        peer = Peer.at(run.baseline(DEFAULT_PEER).root, run)
        looked = {}
        for analysis in ANALYSES:
            looked[analysis.name] = _analysed(analysis, peer, config, say)
            bar.update()
        result = run_study(study, engine, say, bar.update)
    findings = _findings(config, run, looked, result)
    paper = PaperResult(run=str(run.root), seconds=round(time.monotonic() - began, 1), findings=findings)
    write_paper(run, paper)
    return paper


def _analysed(analysis: Analysis, peer: Peer, config: Config, say: Say) -> Finding:
    """What an analysis found; where this run does not have what it needs, that it failed and why."""
    try:
        run_stage(Analysed(analysis, peer), config, say)
    except InputError as error:
        say(f"{analysis.name}: {error}")
        return Finding(name=analysis.name, title=analysis.title, protocol=(), problems=(str(error),))
    return read_finding(RunFolder.of(config).analysis(analysis.name))


def _findings(
    config: Config, run: RunFolder, looked: Mapping[str, Finding], result: StudyResult
) -> tuple[Finding, ...]:
    metrics = read_json(run.metrics, "run `gensr evaluate`")
    peer = read_record(run.baseline(DEFAULT_PEER).metrics, BaselineResult, "a baseline", missing=_REMEDY, wrong=_REMEDY)
    first = [looked[name] for name in _ORDER]
    others = [finding for name, finding in looked.items() if name not in _ORDER]
    trained = (ablation_finding(config, result), sweep_finding(config, result))
    return (performance(metrics, peer), *first, *trained, *others)
