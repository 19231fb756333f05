"""The weights of a trained baseline: opening it needs nothing of what training needs."""

from functools import partial

import torch
from safetensors.torch import load_file

from gensr_dist.baselines.contract import Baseline, LogFacts, Settings
from gensr_dist.baselines.registry import entry
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.graph.edges import Edges, recommendation_edges
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.runs.records import check_consistent, read_record, record_path
from gensr_dist.storage.records import parse_record

WEIGHTS = "weights.safetensors"


def facts_of(data: PreparedData) -> LogFacts:
    """What models are built from."""
    return LogFacts(
        items=data.store.items,
        users=data.store.users,
        tokenizer=data.items.tokenizer,
        cf_width=data.vectors.width,
        cf_scale=data.vectors.unit_scale(),
        popularity_I=data.items.popularity_I,
        title_IT=data.items.title_IT,
        edges=partial(training_edges, data.store),
    )


def training_edges(store: TimelineStore) -> Edges:
    """Distinct pairs of the training recommendations."""
    windows = ((window.first_user, window.timelines) for window in store.windows())
    return recommendation_edges(windows, users=store.users, items=store.items)[0]


def open_baseline(name: str, settings: Settings, data: PreparedData, folder: RunFolder, ranks: Ranks) -> Baseline:
    """A trained baseline in evaluation mode, on the device of the rank.

    Raises:
        InputError: it is not trained, or with other settings.
    """
    model = entry(name).build(settings, facts_of(data))
    load_weights(model, folder)
    return model.to(ranks.device).eval()


def collator_for(settings: Settings, data: PreparedData) -> Collator:
    """What makes a baseline's batches: with context."""
    return Collator(data.store, data.items, data.vectors, settings.history, context=True)


def load_weights(model: Baseline, folder: RunFolder) -> None:
    """Read what a training left in `folder.model`.

    Raises:
        InputError: there is nothing, or of a model with other settings.
    """
    path = folder.model / WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, ValueError) as error:
        raise InputError(path, f"no weights of a baseline ({error})", "train it again") from None
    found = {name: tuple(value.shape) for name, value in weights.items()}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if found != expected:
        raise InputError(path, "weights of a baseline with other settings", "train it again")
    with torch.no_grad():
        model.load_state_dict(weights)


def settings_of(name: str, run: RunFolder) -> Settings:
    """What a baseline of a run was trained with.

    Raises:
        InputError: it is not trained there, or from other results of earlier stages.
    """
    kind, stage = entry(name).settings, f"baseline {name}"
    record = read_record(stage, run)
    if record is None or not record.finished:
        problem = "it is not trained in this run" if record is None else "its training has not finished"
        raise InputError(run.baseline(name).root, problem, f"run `gensr baseline {name} CONFIG`")
    check_consistent(stage, run)
    prefix = f"{name}."
    own = {key.removeprefix(prefix): value for key, value in record.settings.items() if key.startswith(prefix)}
    return parse_record(own, record_path(stage, run), kind, f"{name}'s settings", "train it again")
