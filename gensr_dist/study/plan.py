"""What a study compares: its YAML file, and `SystemPlan`s with everything that is known before a trial begins."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from gensr_dist.baselines.registry import BASELINES
from gensr_dist.baselines.untrained.systems import UNTRAINED
from gensr_dist.config.root import Config, load_config
from gensr_dist.config.settings_file import SettingsLoader, check_number
from gensr_dist.errors import InputError
from gensr_dist.stages.order import BY_NAME
from gensr_dist.storage.home import at_home
from gensr_dist.storage.records import digest
from gensr_dist.study.settings import baseline_settings

GENSR, FUSION = "gensr", "fusion"
SEEDS = " (seeds)"  # behind the label, names the Optuna study of a system's further trainings
_OWN = ("data", "lightgcn", "model", "train", "retrieval")  # sections that a GenSR of its own may change
_TITLES = {GENSR: "GenSR", FUSION: "Fusion of the best two"}


@dataclass(frozen=True, kw_only=True)
class SystemPlan:
    """One system of a study."""

    system: str
    """`gensr`, a name of `gensr baseline --list`, a scorer without training, or `fusion`: of the best two baselines."""
    label: str = ""
    """Row of the tables; the system's title if empty."""
    set: tuple[str, ...] = ()
    """Overrides: of a baseline its own settings (`loss=ce`), of GenSR those of the run (`model.cf_view=false`) but for
    what all systems share: how the log is prepared, and which rows are ranked. Its `lightgcn.*` make CF vectors of its
    own."""

    @property
    def learns(self) -> bool:
        """Whether it depends on a seed."""
        return self.system not in UNTRAINED and self.system != FUSION


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """Settings of a study."""

    config: str
    """Config of the run whose data all systems share; relative to the study's file."""
    folder: str = ""
    """Folder of the study; runs/studies/<name of the file> if empty."""
    trials: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 1
    """Trials of each system: the published settings, then random ones; the best on validation rows is scored on test
    rows."""
    seeds: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 1
    """Trainings, each with its own seed, of the best trial of every system."""
    best: Annotated[int, Field(ge=0, strict=True)] = 0
    """How many of the best systems of each task (by validation rows) are trained with `best_seeds` seeds; GenSR is too.
    0: none."""
    best_seeds: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 3
    """Seeds of those systems, the first one included."""
    hours: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)] = 0.0
    """Hours that a training may take, the same for all; after them it is scored on test rows as it is. 0: no limit."""
    epochs: Annotated[int, Field(ge=0, strict=True)] = 0
    """Most epochs of a baseline, for studies that are cut down. 0: the baselines' own."""
    systems: Annotated[tuple[SystemPlan, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Study:
    """A plan, opened: checked against what exists."""

    plan: StudyPlan
    folder: Path
    config: Config  # of the run with the shared data, in `folder`/data

    @property
    def labels(self) -> tuple[str, ...]:
        """Rows of the tables, in the plan's order."""
        return tuple(label_of(system) for system in self.plan.systems)

    @property
    def gensr(self) -> str | None:
        """GenSR's row, the first of its system; None without one."""
        return next((label for label in self.labels if self.system(label).system == GENSR), None)

    def system(self, label: str) -> SystemPlan:
        """The system of a row."""
        return self.plan.systems[self.labels.index(label)]


def open_study(path: Path, overrides: Sequence[str]) -> Study:
    """Read a study's file and the config that it names.

    Args:
        path: of the YAML file.
        overrides: of the run's config.

    Raises:
        InputError: a file cannot be read, a key or system is unknown, a setting is wrong, or a label stands twice.
    """
    plan = _read(path)
    folder = _folder(plan, path)
    given = [text for text in overrides if text.partition("=")[0] != "run"]
    if len(given) < len(overrides):
        raise InputError("--set run", "a study has a folder of its own", f"set `folder` in {path}")
    place = (path.parent / at_home(plan.config)).resolve()
    given = [*given, f"run={folder / 'data'}"]
    config = load_config(place, given)
    for number, system in enumerate(plan.systems):
        with _at(path, f"systems.{number}"):
            _check(system, config)
            if system.system == GENSR:
                own = [_key_of(text) for text in system.set]
                load_config(place, [*(text for text in given if _key_of(text) not in own), *system.set])
    study = Study(plan, folder, config)
    for label in study.labels:
        if study.labels.count(label) > 1:
            raise InputError(path, f"two systems have the label {label!r}", "give one of them another `label`")
        if label != " ".join(label.split()) or not label.isprintable() or label.endswith(SEEDS):
            remedy = f"write it on one line, without blanks around it and without {SEEDS.strip()!r} at its end"
            raise InputError(path, f"the label {label!r} cannot name a row of a table", remedy)
    systems = {system.system for system in plan.systems}
    if FUSION in systems and not systems & set(BASELINES):
        remedy = "add some of `gensr baseline --list`, or leave it out"
        raise InputError(path, f"{FUSION} is of the best two trained baselines, and there is none", remedy)
    return study


def label_of(system: SystemPlan) -> str:
    """Row of the tables."""
    name = system.system
    return system.label or _TITLES.get(name) or (BASELINES.get(name) or UNTRAINED[name]).title


def plan_digest(study: Study) -> str:
    """What a study's folder belongs to: everything that its results depend on but the log, wherever that lies."""
    data = dataclasses.replace(study.config.data, raw="", shards="", cache="")
    return digest([dataclasses.replace(study.plan, folder=""), dataclasses.replace(study.config, run="", data=data)])


def _read(path: Path) -> StudyPlan:
    try:
        with path.open(encoding="utf-8-sig") as file:
            tree: Any = yaml.load(file, _Loader)  # noqa: S506  a SafeLoader
        return TypeAdapter(StudyPlan).validate_python(tree, extra="forbid")
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, f"cannot read the study ({error.strerror})", "give the path of its YAML file") from None
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "the study"
        problem, remedy = fault["msg"].lower(), "see configs/studies/beauty.yaml"
        if fault["type"] == "dataclass_type":
            problem = "expected keys with values, such as system: sasrec"
        if fault["type"] == "unexpected_keyword_argument":
            known = [field.name for plan in (StudyPlan, SystemPlan) for field in dataclasses.fields(plan)]
            near = difflib.get_close_matches(str(fault["loc"][-1]).lower(), known, n=1)
            problem, remedy = "unknown key", f"did you mean {near[0]}?" if near else remedy
        raise InputError(path, f"{key}: {problem}", remedy) from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise InputError(where, f"expected YAML ({' '.join(str(error).split())})", "fix the syntax") from None


def _folder(plan: StudyPlan, path: Path) -> Path:
    """Where the study lies, as workers of a cluster, who stand elsewhere, find it."""
    text = at_home(plan.folder or f"runs/studies/{path.stem}")
    if "://" in text or text.startswith("~"):
        raise InputError(path, f"folder is {plan.folder!r}, expected a folder of this machine", "give a path")
    folder = Path(text).absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(path, f"folder: {folder} is a file", "give the study another `folder`")
    return folder


class _Loader(SettingsLoader):
    """YAML without repeated keys, of which the last would count without a word, and without octal and base 60."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        if isinstance(value, int | float) and not isinstance(value, bool):
            check_number(node.value, value, f"{node.start_mark.name}:{node.start_mark.line + 1}", "a value")
        return value


def _check(system: SystemPlan, config: Config) -> None:
    name, keys = system.system, list(map(_key_of, system.set))
    for key in keys:
        if keys.count(key) > 1:
            raise InputError("set", f"{key} is there twice", "leave one of them out")
    if name == GENSR:
        _check_own(system, config)
    elif name in BASELINES:
        baseline_settings(name, system.set)
    elif name not in UNTRAINED and name != FUSION:
        near = difflib.get_close_matches(name, [*_TITLES, *BASELINES, *UNTRAINED], n=1)
        remedy = f"did you mean {near[0]}?" if near else "`gensr baseline --list` shows those that train"
        raise InputError("system", f"there is none of the name {name!r}", remedy)
    elif system.set:
        raise InputError("set", f"{name} has no settings", "leave it out")


def _check_own(system: SystemPlan, config: Config) -> None:
    """Refuse what a system cannot have for itself: the log is prepared once, and all rank the same rows."""
    shared = {*BY_NAME["prepare"].settings(config), "data.raw", "train.validate_rows"}
    for key in map(_key_of, system.set):
        if key in shared or key.partition(".")[0] not in _OWN:
            remedy = "set it in the study's config, or with `--set` for all"
            raise InputError(key, "it is the same for all systems of a study", remedy)


def _key_of(override: str) -> str:
    return override.partition("=")[0]


@contextmanager
def _at(path: Path, place: str) -> Iterator[None]:
    """Say in which file and system the fault is."""
    try:
        yield
    except InputError as error:
        raise InputError(
            path, f"{place}: {error.where.removeprefix('--set ')}: {error.problem}", error.remedy
        ) from None
