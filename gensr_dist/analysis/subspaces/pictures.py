"""Tables and charts of `subspaces`.

Dimensions: R rows, D width.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gensr_dist.analysis.intervals import over_steps, shown
from gensr_dist.analysis.subspaces.clouds import Clouds, Floats
from gensr_dist.analysis.subspaces.overlap import Overlap
from gensr_dist.analysis.subspaces.spaces import Glance, Space
from gensr_dist.data.spaced import spaced
from gensr_dist.evaluation.metrics import TASK_TITLES
from gensr_dist.pages.charts import AnyChart, LineChart, PointChart, Series
from gensr_dist.pages.table import Table

_POINTS, _FEW_POINTS = 600, 150  # drawn of a cloud, in figures and in the strip
_MOST_PICTURES = 6  # of a strip
TASKS = tuple(title.lower() for title in TASK_TITLES.values())


def density_chart(plane: Clouds) -> PointChart:
    """Figure 3a."""
    return PointChart(
        name="inputs-tsne",
        title="(a) t-SNE of both tasks' inputs [f_cf, f_sem]",
        alt="Points and kernel densities of both tasks' filtered histories in the plane of t-SNE",
        x="t-SNE 1",
        y="t-SNE 2",
        series=_series(plane, _POINTS),
        contours=True,
    )


def plane_chart(name: str, space: Space) -> PointChart:
    """Figure 3b or 3c."""
    place = "c" if name.startswith("GenSR") else "b"
    return PointChart(
        name=f"states-{_file(name)}",
        title=f"({place}) {name}, {space.shown:.0%} of the variance",
        alt=f"Both tasks' states of {name} in the plane of their two largest principal components",
        x="first principal component",
        y="second principal component",
        series=_series(space.plane, _POINTS),
        contours=True,
    )


def strip_charts(glances: Mapping[str, Sequence[Glance]]) -> list[AnyChart]:
    """Pictures of some moments, and lines over all."""
    charts: list[AnyChart] = []
    for name, strip in glances.items():
        charts += [_picture(name, strip[place]) for place in spaced(len(strip), _MOST_PICTURES)]
    lines = {
        "linear": ("Linear separability over the training", "accuracy", 0.5, lambda each: each.linear),
        "overlap": (
            "Overlap over the training",
            "overlap, by that within one task",
            1.0,
            lambda each: each.overlap.ratio,
        ),
    }
    for key, (title, label, level, value) in lines.items():
        series = [
            over_steps(name, [each.step for each in strip], [value(each) for each in strip])
            for name, strip in glances.items()
        ]
        if any(line.x for line in series):
            charts.append(
                LineChart(
                    name=f"strip-{key}",
                    title=title,
                    alt=f"{title}, of {' and '.join(glances)}, with intervals",
                    x="training step of the model",
                    y=label,
                    series=tuple(series),
                    level=level,
                )
            )
    return charts


def _picture(name: str, glance: Glance) -> PointChart:
    return PointChart(
        name=f"strip-{_file(name)}-{glance.step:08d}",
        title=f"{name}, step {glance.step}" + (" (before its training)" if glance.step == 0 else ""),
        alt=f"Both tasks' states of {name} at step {glance.step} in the plane of their principal components",
        x="first principal component",
        y="second principal component",
        series=_series(glance.plane, _FEW_POINTS),
    )


def _series(plane: Clouds, most: int) -> tuple[Series, ...]:
    clouds = zip(TASKS, (plane.rec_RD, plane.search_RD), strict=True)
    return tuple(_cloud(label, point_R2, most) for label, point_R2 in clouds)


def _cloud(label: str, point_R2: Floats, most: int) -> Series:
    """Rows are in the order of users: evenly spaced ones are as good as drawn ones."""
    x, y = np.round(point_R2[spaced(len(point_R2), most)].T, 4).tolist()
    return Series(label=label, x=tuple(x), y=tuple(y))


def tables_of(
    spaces: Mapping[str, Space], embedded: Overlap | None, glances: Mapping[str, Sequence[Glance]]
) -> tuple[Table, ...]:
    """Accuracies; densities, angles and CKA; the strip."""
    densities: list[tuple[str, ...]] = [
        (
            *(name, f"{space.shown:.0%}", *_overlap(space.overlap), str(space.angles.directions)),
            *(shown(space.angles.across, 0), shown(space.angles.null, 0)),
            *(("-", "-") if (like := space.likeness) is None else (shown(like.across), shown(like.null))),
        )
        for name, space in spaces.items()
    ]
    if embedded is not None:
        densities.insert(0, ("GenSR: filtered, t-SNE", "-", *_overlap(embedded), *["-"] * 5))
    return (
        Table(
            title="Telling the tasks apart",
            note="Accuracy on users that the classifier has not seen; chance is 0.5.",
            heads=("space", "linear", "15 neighbours", "null (linear)"),
            rows=tuple((name, *map(shown, (s.linear, s.neighbours, s.null))) for name, s in spaces.items()),
        ),
        Table(
            title="Densities and subspaces",
            note="Null: the same between users of one task; of CKA: users shuffled.",
            heads=(
                *("space", "variance shown", "overlap", "null", "ratio", "directions"),
                *("angle (degrees)", "null", "CKA", "null"),
            ),
            rows=tuple(densities),
        ),
        Table(
            title="Over the training",
            note="Step 0 is the model before its training.",
            heads=("space", "step", "linear", "overlap", "null", "ratio"),
            rows=tuple(
                (name, f"{each.step:,}", shown(each.linear), *_overlap(each.overlap))
                for name, strip in glances.items()
                for each in strip
            ),
        ),
    )


def _overlap(overlap: Overlap) -> tuple[str, str, str]:
    return shown(overlap.across), shown(overlap.null), shown(overlap.ratio)


def _file(name: str) -> str:
    return "-".join(name.lower().replace(":", "").split())
