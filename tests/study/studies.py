"""Studies small enough for tests."""

import os
import sys
from pathlib import Path

from gensr_dist.study.engines import LOG, LocalTrials
from gensr_dist.study.spec import TrialSpec
from tests.forked_ranks import ForkedPython

RUN = """
data: {vocabulary: 400, title_tokens: 6, query_tokens: 4, history: 5, eval_negatives: 20, min_interactions: 2}
lightgcn: {width: 8, epochs: 2, validate_every: 1, folds: 0}
model: {semantic_history: pooled, cf_heads: 2}
train: {steps: 6, batch: 8, warmup_steps: 2, validate_every: 3, validate_rows: 20, checkpoint_every: 3, workers: 0}
simulate: {users: 60, items: 300, days: 6, events_per_user: 40}
evaluation: {rows: 50, catalogue_rows: 10, bootstrap: 10}
retrieval: {fit_rows: 0, candidates: 20}
"""


def write_study(folder: Path, systems: str, **settings: object) -> Path:
    """A study's file beside its run's config; `systems` are the lines of the list. Shards lie outside of its folder."""
    (folder / "run.yaml").write_text(RUN.replace("vocabulary", f"shards: {folder / 'shards'}, vocabulary"))
    lines = [f"{key}: {value}" for key, value in settings.items()]
    path = folder / "study.yaml"
    path.write_text("\n".join(["config: run.yaml", f"folder: {folder / 'study'}", *lines, "systems:", systems, ""]))
    return path


def start_forked(engine: LocalTrials, spec: TrialSpec) -> ForkedPython:
    """In place of `LocalTrials.start`: a trial whose libraries are imported."""
    with (Path(spec.folder) / LOG).open("ab") as log:
        command = [sys.executable, "-m", "gensr_dist.study.trial", spec.folder]
        return ForkedPython(command, stdout=log, stderr=log, begin=_tell_parent)


def _tell_parent() -> None:
    sys.argv.append(str(os.getppid()))
