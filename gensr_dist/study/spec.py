"""A trial before it begins, as JSON for the process that runs it; and what it left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gensr_dist.storage.records import digest, read_record

SPEC, OUTCOME = "trial.json", "outcome.json"
REMEDY = "delete the folder of the trial; the study does it again"


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training of one system."""

    label: str
    system: str
    set: tuple[str, ...]  # overrides, see `SystemPlan.set`
    seed: int
    epochs: int  # most; 0 is no limit
    hours: float  # most; 0 is no limit
    config: str  # file of the shared data's resolved config
    folder: str  # of the trial


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial gave, whatever its system. Ranks and users of the test rows lie beside it in `ranks/`."""

    label: str
    seed: int
    validation: Mapping[str, float]  # NDCG@10 of validation rows, by task
    tasks: Mapping[str, Mapping[str, float]]  # metrics of test rows among sampled negatives, by task
    rows_digest: str  # of those rows
    catalogue: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # among the whole catalogue
    catalogue_rows: int = 0  # a task
    hard: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # searches among harder negatives, by kind
    parameters: int = 0
    seconds: float = 0.0  # of training
    seconds_per_epoch: float = 0.0
    candidates_per_second: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()  # seconds of training and mean validation NDCG@10


def trial_folder(study: Path, label: str, settings: tuple[str, ...], seed: int) -> Path:
    """Where a trial works: a function of what it does, so that one that is done again goes on."""
    safe = "".join(letter if letter.isalnum() else "-" for letter in label).strip("-").lower()[:60]
    return study / "trials" / f"{safe}-{digest([label, settings])[:8]}-seed{seed}"


def read_outcome(folder: Path) -> TrialResult | None:
    """What a finished trial left; None where it has not finished.

    Raises:
        InputError: it cannot be read.
    """
    path = folder / OUTCOME
    if not path.exists():
        return None
    return read_record(path, TrialResult, "a trial's outcome", missing=REMEDY, wrong=REMEDY)


def read_spec(folder: Path) -> TrialSpec:
    """The trial of a folder.

    Raises:
        InputError: there is none.
    """
    return read_record(folder / SPEC, TrialSpec, "a trial", missing=REMEDY, wrong=REMEDY)
