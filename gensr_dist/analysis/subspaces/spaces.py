"""States of both tasks at a moment of a model, and what is measured of them.

Dimensions: R rows, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gensr_dist.analysis.states import States, states_of_gensr, states_of_peer
from gensr_dist.analysis.subject import OpenedPeer
from gensr_dist.analysis.subspaces.clouds import Clouds
from gensr_dist.analysis.subspaces.geometry import Angles, Likeness, likeness, principal_angles
from gensr_dist.analysis.subspaces.overlap import Overlap, overlap_of, principal_plane
from gensr_dist.analysis.subspaces.separability import null_separability, separability
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import Estimate
from gensr_dist.runs.trained_run import TrainedRun

Rows = Mapping[Behaviour, EvalRows]


@dataclass(frozen=True, kw_only=True)
class Space:
    """One space of a model with everything that is measured of it."""

    plane: Clouds  # of the first two principal components
    shown: float  # share of the variance in that plane
    linear: Estimate  # accuracy of telling the tasks apart
    neighbours: Estimate
    null: Estimate  # linear, of two halves of one task
    overlap: Overlap  # in the plane
    angles: Angles
    likeness: Likeness | None


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What the strip shows of a space at a moment."""

    step: int
    plane: Clouds
    linear: Estimate
    overlap: Overlap


def clouds_of_gensr(trained: TrainedRun, rows: Rows) -> dict[str, Clouds]:
    """By space: input, filtered, hidden."""
    states = {task: states_of_gensr(trained, each) for task, each in rows.items()}
    return {name: _clouds(states, rows, name) for name in ("input", "filtered", "hidden")}


def clouds_of_peer(opened: OpenedPeer, rows: Rows) -> dict[str, Clouds]:
    """By space: input, shared, hidden."""
    states = {task: states_of_peer(opened, each) for task, each in rows.items()}
    return {name: _clouds(states, rows, name) for name in ("input", "shared", "hidden")}


def space_of(clouds: Clouds) -> Space:
    """Measure everything."""
    plane, shown = principal_plane(clouds)
    return Space(
        plane=plane,
        shown=shown,
        linear=separability(clouds, "linear"),
        neighbours=separability(clouds, "neighbours"),
        null=null_separability(clouds),
        overlap=overlap_of(plane),
        angles=principal_angles(clouds),
        likeness=likeness(clouds),
    )


def glance_at(clouds: Clouds, step: int) -> Glance:
    """Measure what the strip shows."""
    plane, _ = principal_plane(clouds)
    return Glance(step=step, plane=plane, linear=separability(clouds, "linear"), overlap=overlap_of(plane))


def is_finite(clouds: Clouds) -> bool:
    """Whether anything can be measured: no NaN, and not one and the same point."""
    both_RD = clouds.both_RD
    return bool(np.isfinite(both_RD).all() and both_RD.std(0).any())


def balanced(filtered: Clouds, cf_width: int) -> Clouds:
    """[f_cf, f_sem] with both views in units of their root mean square, so that neither drowns the other."""
    both_RD = filtered.both_RD
    views = [view_RD / (np.sqrt((view_RD**2).mean()) or 1.0) for view_RD in np.split(both_RD, [cf_width], axis=1)]
    return filtered.with_values(np.concatenate(views, axis=1))


def _clouds(states: Mapping[Behaviour, States], rows: Rows, name: str) -> Clouds:
    """Of the field of States that is called so, but for its dimensions."""
    field = f"{name}_XF" if name == "filtered" else f"{name}_XD"
    rec, search = Behaviour.RECOMMENDATION, Behaviour.SEARCH
    return Clouds(
        rec_RD=getattr(states[rec], field).astype(np.float64),
        search_RD=getattr(states[search], field).astype(np.float64),
        rec_user_R=rows[rec].user_R,
        search_user_R=rows[search].user_R,
    )
