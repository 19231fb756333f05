"""Tables and charts of `gradient-conflict`."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gensr_dist.analysis.intervals import columns, over_steps, shown
from gensr_dist.data.spaced import spaced
from gensr_dist.pages.charts import AnyChart, BarChart, LineChart, Series
from gensr_dist.pages.table import Table
from gensr_dist.train.conflict import ALL

if TYPE_CHECKING:
    from gensr_dist.analysis.gradient_conflict.analysis import System

_MOST_STEPS = 8  # of a table


def tables_of(systems: Sequence["System"]) -> tuple[Table, ...]:
    """By layer over all checkpoints, and by layer and step."""
    return tuple(table for system in systems for table in (_by_layer(system), _by_step(system)))


def _by_layer(system: "System") -> Table:
    found = {layer: system.over_training[layer] for layer in (ALL, *system.layers)}
    return Table(
        title=f"{system.title}: cosine of both tasks' gradients by layer",
        note="All checkpoints together. Null: of one task, on two mini-batches. A dash: gradients are noise alone.",
        heads=("layer", "cosine", "null", "share negative", "null", "expected gradients"),
        rows=tuple(
            (layer, *(shown(each) for each in (c.cosine, c.null, c.negative, c.null_negative, c.expected)))
            for layer, c in found.items()
        ),
    )


def _by_step(system: "System") -> Table:
    places = spaced(len(system.steps), _MOST_STEPS)
    return Table(
        title=f"{system.title}: mean cosine by layer and step",
        note="Of both tasks' gradients of a mini-batch; step 0 is the model before its training.",
        heads=("layer", *(f"step {system.steps[place]}" for place in places)),
        rows=tuple(
            (layer, *(shown(system.by_step[layer][place].cosine) for place in places))
            for layer in (ALL, *system.layers)
        ),
    )


def charts_of(systems: Sequence["System"]) -> tuple[AnyChart, ...]:
    """Lines over steps, and bars of shares by layer."""
    cosines = [
        over_steps(f"{system.title}, {label}", system.steps, [getattr(found, name) for found in system.by_step[ALL]])
        for system in systems
        for name, label in (("cosine", "both tasks"), ("null", "one task (null)"))
    ]
    expected = [
        over_steps(system.title, system.steps, [found.expected for found in system.by_step[ALL]]) for system in systems
    ]
    lines = (
        LineChart(
            name="conflict-cosine",
            title="Cosine of gradients, all shared layers",
            alt="Cosine of both tasks' gradients of a mini-batch, and of one task's on two, by training step",
            x="training step of the model",
            y="cosine, mean over mini-batches",
            series=tuple(cosines),
            level=0.0,
        ),
        LineChart(
            name="conflict-expected",
            title="Cosine of the expected gradients",
            alt="Cosine of both tasks' expected gradients by training step, with noise taken out",
            x="training step of the model",
            y="cosine",
            series=tuple(expected),
            level=0.0,
        ),
    )
    return (*(chart for chart in lines if any(line.x for line in chart.series)), *map(_bars, systems))


def _bars(system: "System") -> BarChart:
    found = {layer: system.over_training[layer] for layer in (ALL, *system.layers)}
    kept = {layer: each for layer, each in found.items() if math.isfinite(each.negative.value)}
    return BarChart(
        name=f"conflict-negative-{'-'.join(system.title.lower().split())}",
        title=f"{system.title}: share of negative cosines by layer",
        alt=f"Share of mini-batches whose task gradients of {system.title} have a negative cosine, by layer",
        x="share, all checkpoints",
        groups=tuple(kept),
        series=(
            Series(label="both tasks", x=(), **columns([each.negative for each in kept.values()])),
            Series(label="one task (null)", x=(), **columns([each.null_negative for each in kept.values()])),
        ),
    )
