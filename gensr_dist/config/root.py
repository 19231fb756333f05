"""The configuration of a run: YAML file, then `--set a.b=c` overrides, validated into dataclasses."""

import dataclasses
import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

import annotated_types
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gensr_dist.analysis.config import AnalysisConfig
from gensr_dist.config.settings_file import (
    Keys,
    Setting,
    as_yaml,
    base_type,
    encodable,
    keys_of,
    read_file,
    read_override,
)
from gensr_dist.data.config import PROMPT_TOKENS, DataConfig, SimulateConfig, Source, check_negatives
from gensr_dist.errors import InputError
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.graph.config import LightGCNConfig, check_folds
from gensr_dist.kernels.config import KernelPath
from gensr_dist.model.config import SIZES, ModelConfig
from gensr_dist.model.template import check_template
from gensr_dist.paper.config import PaperConfig
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.storage.home import at_home
from gensr_dist.train.config import TrainConfig

_VARIABLE = re.compile(r"(?:^|/)\$[A-Za-z_]|\$\{")  # at the beginning of a folder's name, where folders have no $
_PATHS = ("run", "data.raw", "data.shards", "data.cache", "data.tokenizer", "model.backbone")  # or may be


Section = TypeVar("Section")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run depends on. Each section lives beside the code that it configures."""

    run: str = "runs/default"
    """Folder that receives every stage's results; runs/<name of the config file> if not set."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything random: simulation, split, negatives, order, weights, dropout."""
    kernels: KernelPath = "auto"
    """Implementation of the fused operations. `auto`: Triton on GPUs, else torch; `triton` and `torch`: that one or an
    error."""
    simulate: SimulateConfig = field(default_factory=SimulateConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lightgcn: LightGCNConfig = field(default_factory=LightGCNConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    paper: PaperConfig = field(default_factory=PaperConfig)


def load_config(path: Path | None, overrides: Sequence[str] = (), *, done: bool = False) -> Config:
    """Read a YAML config (none: all defaults), apply `a.b=c` overrides in order, validate.

    Args:
        path: of the file.
        overrides: of `--set`.
        done: the file tells what a run did. What is only refused as a plan may be there.

    Raises:
        InputError: the file cannot be read; a key is unknown, duplicate, of the wrong type or out of range; two keys
            contradict each other. It names the file and line, or the override.
    """
    keys = keys_of(Config)
    settings = read_file(path, keys) if path is not None else {}
    for text in overrides:
        key, setting = read_override(text, keys)
        settings[key] = setting
    if path is not None and "run" not in settings:
        settings["run"] = _run_of(path)
    config = validated(Config, settings, keys)
    file = "--set" if path is None else str(path)
    _check_together(config, settings, file)
    if not done:
        _check_warm_up(config.train, settings, file)
        _check_log(config.data, settings, file)
    return _at_home(config)


def _run_of(path: Path) -> Setting:
    """The run folder that is named after a config file."""
    if path.stem in (".", ".."):
        problem = f"a run named after this file would be in runs/{path.stem}, which is no folder of its own"
        raise InputError(path, problem, "rename the file, or set run to a path")
    return Setting(str(path), encodable(f"runs/{path.stem}", str(path), "run"), path.stem)


def validated(kind: type[Section], settings: Mapping[str, Setting], keys: Keys) -> Section:
    """A dataclass, or one of dataclasses, with these settings and its defaults.

    Args:
        kind: its class.
        settings: by dotted key.
        keys: as `keys_of` gives them.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """
    tree: dict[str, Any] = {}
    for key, setting in settings.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = setting.value
    try:
        return TypeAdapter(kind).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        key = ".".join(str(word) for word in error.errors()[0]["loc"])
        raise _value_error(key, settings[key], keys[key], kind()) from None


def resolved_yaml(config: Config) -> str:
    """Every key with its value, as YAML that `load_config` reads back to an equal Config."""
    return as_yaml(dataclasses.asdict(config))


def _check_together(config: Config, settings: dict[str, Setting], file: str) -> None:
    """Contradictions between keys that are known before any data is read."""
    refuse = partial(_refuse, settings, file)
    train, model = config.train, config.model
    for key, text in (("run", config.run), ("data.raw", config.data.raw)):
        if any(ord(letter) < 32 for letter in text) or (key == "run" and not text.strip()):
            refuse(key, f"{key} is {text!r}, expected the path of a folder", f"set {key} to a path")
    for key, text in (("run", config.run), ("data.cache", config.data.cache)):
        if "://" in text:
            problem = f"{key} is {text!r}, expected a folder of this machine"
            refuse(key, problem, f"set {key} to a path; data.raw and data.shards may be URLs")
    tokenizer = config.data.tokenizer
    if not tokenizer or tokenizer != tokenizer.strip():
        problem = f"data.tokenizer is {tokenizer!r}, expected 'corpus', a folder or a Hub name without blanks around it"
        refuse("data.tokenizer", problem, "the default is 'corpus'")
    for key in _PATHS:
        text = operator.attrgetter(key)(config)
        if at_home(text).startswith("~"):
            refuse(key, f"{key} is {text!r}, and there is no such user here", "write the path of the home folder")
        if _VARIABLE.search(text):
            problem = f"{key} is {text!r}, and variables of the environment are not replaced"
            refuse(key, problem, f'write the path itself, or --set {key}="...", where the shell replaces them')
    if 0 < train.micro_tokens < config.data.longest_row:
        refuse(
            "train.micro_tokens",
            f"train.micro_tokens is {train.micro_tokens}, but a training row can have {config.data.longest_row} "
            f"(data.history x data.title_tokens, and {PROMPT_TOKENS} a candidate)",
            "raise it; 0 sets no limit",
        )
    lowest_stage = {"none": 0, "optimizer": 1, "parameters": 3}[train.offload]
    if train.zero_stage < lowest_stage:
        refuse(
            "train.offload",
            f"train.offload {train.offload!r} needs train.zero_stage >= {lowest_stage}, which is {train.zero_stage}",
            f"set train.zero_stage to {lowest_stage}, or train.offload to 'none'",
        )
    if train.conflict_every and train.zero_stage == 3:
        refuse(
            "train.conflict_every",
            f"train.conflict_every is {train.conflict_every}, but under train.zero_stage 3 no rank has whole weights",
            "set train.zero_stage to 2, or train.conflict_every to 0",
        )
    if config.evaluation.compile and config.kernels == "triton":
        refuse(
            "evaluation.compile",
            "evaluation.compile leaves T5's kernels to torch.compile, but kernels 'triton' insists on ours",
            "set one of them to its default",
        )
    if config.lightgcn.width % model.cf_heads:
        refuse(
            "model.cf_heads" if "model.cf_heads" in settings else "lightgcn.width",
            f"lightgcn.width {config.lightgcn.width} is not a multiple of model.cf_heads {model.cf_heads}",
            "change one of them",
        )
    width = SIZES[model.backbone][0] if model.backbone in SIZES else 0  # a pretrained one's is known when it is loaded
    if width % model.semantic_heads:
        refuse(
            "model.semantic_heads" if "model.semantic_heads" in settings else "model.backbone",
            f"the width {width} of model.backbone {model.backbone!r} is not a multiple of model.semantic_heads "
            f"{model.semantic_heads}",
            "change one of them",
        )
    if model.backbone not in SIZES and config.data.tokenizer == "corpus":
        refuse(
            "model.backbone",
            f"model.backbone {model.backbone!r} is pretrained on other tokens than those of data.tokenizer 'corpus'",
            f"set data.tokenizer to {model.backbone!r}, or model.backbone to one of {', '.join(SIZES)}",
        )
    if not (model.cf_view or model.semantic_view):
        refuse("model.cf_view", "model.cf_view and model.semantic_view are both false", "leave one view on")
    try:
        check_negatives(config.data)
        check_folds(config.lightgcn.folds)
        check_template(model.prompts.recommendation, "recommendation")
        check_template(model.prompts.search, "search")
    except InputError as error:  # it names the key
        refuse(error.where, f"{error.where}: {error.problem}", error.remedy)


def _check_warm_up(train: TrainConfig, settings: Mapping[str, Setting], file: str) -> None:
    """Refuse a training that ends while its learning rate still rises."""
    if train.warmup_steps > train.steps:
        _refuse(
            settings,
            file,
            "train.warmup_steps" if "train.warmup_steps" in settings else "train.steps",
            f"train.warmup_steps is {train.warmup_steps}, but train.steps is {train.steps}: the training would end "
            "before its learning rate is reached",
            "lower train.warmup_steps, or raise train.steps",
        )


def _check_log(data: DataConfig, settings: Mapping[str, Setting], file: str) -> None:
    """Refuse a log of the user's that no stage would read."""
    if data.raw and data.source == "simulate":
        others = ", ".join(source for source in get_args(Source) if source != "simulate")
        problem = f"data.raw is {data.raw!r}, but data.source is 'simulate', whose log lies in the run folder"
        _refuse(settings, file, "data.raw", problem, f"set data.source to one of {others}, or leave data.raw empty")


def _refuse(settings: Mapping[str, Setting], file: str, key: str, problem: str, remedy: str) -> NoReturn:
    raise InputError(settings[key].where if key in settings else file, problem, remedy)


def _at_home(config: Config) -> Config:
    """The config with `~` and `~user` at the beginning of a path replaced by the home folder, as a shell does."""
    paths: dict[str, Any] = {key: at_home(operator.attrgetter(key)(config)) for key in _PATHS}
    data = {key.removeprefix("data."): path for key, path in paths.items() if key.startswith("data.")}
    return dataclasses.replace(
        config,
        run=paths["run"],
        data=dataclasses.replace(config.data, **data),
        model=dataclasses.replace(config.model, backbone=paths["model.backbone"]),
    )


def _value_error(key: str, setting: Setting, hint: Any, defaults: Any) -> InputError:
    base, bounds = base_type(hint), bounds_of(hint)
    if get_origin(base) is Literal:
        expected = f"one of {', '.join(get_args(base))}"
    else:
        expected = {bool: "true or false", int: "an integer", float: "a number", str: "text"}[base]
    expected = " ".join([expected, " and ".join(bounds)]).strip()
    default = operator.attrgetter(key)(defaults)
    remedy = "quote the value" if base is str and setting.value is not None else f"the default is {_shown(default)}"
    if key == "train.precision" and str(setting.value).lower() in ("fp16", "float16", "half"):
        remedy = "T5 overflows in fp16; use bf16, which needs no more memory"
    return InputError(setting.where, f"{key} is {setting.shown()}, expected {expected}", remedy)


def bounds_of(hint: Any) -> list[str]:
    """The bounds in a type hint: `>= 1` and so on."""
    if get_origin(hint) is not Annotated:
        return []
    fields = [annotation for annotation in get_args(hint)[1:] if isinstance(annotation, FieldInfo)]
    return [_bound(constraint) for field in fields for constraint in field.metadata]


def _bound(constraint: Any) -> str:
    match constraint:
        case annotated_types.Ge(ge=limit):
            return f">= {limit}"
        case annotated_types.Gt(gt=limit):
            return f"> {limit}"
        case annotated_types.Le(le=limit):
            return f"<= {limit}"
        case annotated_types.Lt(lt=limit):
            return f"< {limit}"
    raise AssertionError(f"no words for the constraint {constraint!r}")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def flattened(section: Any, prefix: str = "") -> dict[str, str | int | float | bool]:
    """Dotted keys and values of a dataclass of dataclasses; `prefix` is put before each key."""
    settings: dict[str, str | int | float | bool] = {}
    for entry in dataclasses.fields(section):
        value = getattr(section, entry.name)
        if dataclasses.is_dataclass(value):
            settings |= flattened(value, f"{prefix}{entry.name}.")
        else:
            settings[prefix + entry.name] = value
    return settings
