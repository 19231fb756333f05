"""The analysis `subspaces`: figure 3 of the paper, with numbers beside it and over the training.

Dimensions as in `clouds.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import Claim, Finding
from gensr_dist.analysis.intervals import Verdict, holds_above, recorded, shown, verdict
from gensr_dist.analysis.moments import Moment, Opened, moments_of_gensr, moments_of_peer, opened_moments
from gensr_dist.analysis.subject import NO_PEER, Subject
from gensr_dist.analysis.subspaces.clouds import SPLITS, Clouds, rows_of
from gensr_dist.analysis.subspaces.geometry import FEWEST_USERS
from gensr_dist.analysis.subspaces.overlap import Overlap, embedded_plane, overlap_of
from gensr_dist.analysis.subspaces.pictures import density_chart, plane_chart, strip_charts, tables_of
from gensr_dist.analysis.subspaces.spaces import (
    Glance,
    Rows,
    Space,
    balanced,
    clouds_of_gensr,
    clouds_of_peer,
    glance_at,
    is_finite,
    space_of,
)
from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.metrics import Estimate
from gensr_dist.pages.charts import AnyChart

HALF = 0.5  # ratio of overlaps, below which the tasks count as apart
ALIKE = 0.9  # above which they may count as one
_PROTOCOL = (
    "{rows:,} held-out test rows of each task (drawn with seed 0, of {rec_users:,} and {search_users:,} users), "
    "each with its positive item. Figure 3a: t-SNE (perplexity 30) of [f_cf, f_sem] of GenSR's soft filters, each "
    "view in units of its root mean square. Figures 3b and 3c: the two largest principal components of both tasks' "
    "states together. GenSR's `hidden` is the decoder's state at its first position, of which the head makes "
    "logits.",
    "Which state of a peer? Its last one (`hidden`) lies in a tower of the task's own: two towers would draw even "
    "equal states apart. `shared` is what its mixture of experts gives the task: shared experts, but experts and a "
    "gate of the task's own too, so that it is apart in part by construction. `input`, which enters that mixture, "
    "is the last state that is wholly shared. Figure 3b shows `shared` and `input`, the tables all three; claims go "
    "by `shared`.",
    "How to read the numbers. Accuracy: of a logistic regression and of 15 nearest neighbours that tell the tasks "
    "apart on users that they have not seen (5 folds by user), chance is 0.5; intervals (95 %) resample users; the "
    "null is two random halves of one task's users. Overlap: the integral of min(p, q) of two kernel densities in "
    "the plane (Scott's rule); angle: the mean principal angle of the tasks' main subspaces, each about its own "
    "mean; both between random halves of the users, and so beside the same between users of one task (the null), of "
    "equal size; their intervals are over {splits} such halves. Ratio: overlap by its null: 1 where the tasks lie "
    "as the users of one task do, 0 where they are apart. CKA: likeness of both tasks' geometries over users who "
    "have both.",
    "What it can and cannot show. GenSR's prompt names the task, and a peer's input holds a query or the vector "
    "that stands for none. What an input gives away, a model that keeps its input can tell apart: an accuracy near "
    "1 of `hidden` is no finding where that of `input` is near 1 already, nor is an overlap of 0 that is there "
    "before the training (step 0). What the figure can show is how much of the states' variance goes to the task, "
    "and how that moves over the training. Claims on states are decided by the ratio: apart below {half}, one space "
    "above, undecided where its interval holds {half}. A plane shows only the share of the variance that stands in "
    "its title; and where the users of both tasks are not the same people, what tells tasks apart may be the "
    "people.",
)


class Subspaces(Analysis):
    """Densities of both tasks' inputs, PCA of their states, numbers beside the pictures, and a strip over steps."""

    name = "subspaces"
    title = "Subspaces of both tasks (figure 3)"
    summary = "where both tasks' inputs and hidden states lie: pictures, separability, overlap, angles, CKA, over steps"
    compares = True

    def find(self, subject: Subject) -> Finding:
        """Raises InputError where a task has too few test rows."""
        rows = rows_of(subject)
        seen = _Seen.of(subject, rows)
        rec, search = rows[Behaviour.RECOMMENDATION], rows[Behaviour.SEARCH]
        counts = {
            "rows": len(rec),
            "rec_users": len(np.unique(rec.user_R)),
            "search_users": len(np.unique(search.user_R)),
            "users_of_both": len(np.intersect1d(rec.user_R, search.user_R)),
        }
        if all(space.likeness is None for space in seen.spaces.values()):
            found = f"{counts['users_of_both']} users have test rows of both tasks, and {FEWEST_USERS} are needed"
            seen.problems.append(f"no CKA: {found}; a log with more test rows has them")
        return Finding(
            name=self.name,
            title=self.title,
            protocol=tuple(text.format(**counts, splits=SPLITS, half=HALF) for text in _PROTOCOL),
            numbers={
                "rows": counts,
                "spaces": {name: _numbers(space) for name, space in seen.spaces.items()},
                "filtered, t-SNE": _overlap_numbers(seen.embedded) if seen.embedded else None,
                "over training": {
                    name: [
                        {"step": at.step, "linear": recorded(at.linear), "overlap": _overlap_numbers(at.overlap)}
                        for at in strip
                    ]
                    for name, strip in seen.strips.items()
                },
            },
            tables=tables_of(seen.spaces, seen.embedded, seen.strips),
            charts=(*seen.charts, *strip_charts(seen.strips)),
            claims=_claims(seen),
            problems=tuple(seen.problems),
            summary=tuple(_line(name, space) for name, space in seen.spaces.items()),
        )


@dataclass(kw_only=True)
class _Seen:
    """What could be measured, and what could not."""

    peer: str | None  # its title
    spaces: dict[str, Space] = field(default_factory=dict)
    strips: dict[str, list[Glance]] = field(default_factory=dict)
    embedded: Overlap | None = None  # of [f_cf, f_sem] in the plane of t-SNE
    charts: list[AnyChart] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, subject: Subject, rows: Rows) -> "_Seen":
        """Look at GenSR and its peer."""
        opened = subject.opened_peer
        seen = cls(peer=opened.peer.title if opened else None)
        own = clouds_of_gensr(subject.trained, rows)
        seen._embed(balanced(own["filtered"], subject.trained.model.shape.cf_width))
        seen._measure("GenSR", own)
        seen._look("GenSR", ("hidden",), moments_of_gensr(subject), lambda trained: clouds_of_gensr(trained, rows))
        if opened is None or seen.peer is None:
            seen.problems.append(NO_PEER)
        else:
            seen._measure(seen.peer, clouds_of_peer(opened, rows))
            shared = ("shared", "input")
            seen._look(seen.peer, shared, moments_of_peer(subject), lambda peer: clouds_of_peer(peer, rows))
        drawn = [name for name in seen.strips if name in seen.spaces]
        seen.charts += [plane_chart(name, seen.spaces[name]) for name in drawn]
        return seen

    def _embed(self, filtered: Clouds) -> None:
        if self._usable("GenSR: filtered, t-SNE", filtered):
            plane = embedded_plane(filtered)
            self.embedded = overlap_of(plane)
            self.charts.append(density_chart(plane))

    def _measure(self, system: str, clouds: Mapping[str, Clouds]) -> None:
        for name, each in clouds.items():
            if self._usable(f"{system}: {name}", each):
                self.spaces[f"{system}: {name}"] = space_of(each)

    def _look(
        self,
        system: str,
        names: Sequence[str],
        moments: list[Moment[Opened]],
        clouds_of: Callable[[Opened], Mapping[str, Clouds]],
    ) -> None:
        """Some spaces over the training."""
        strips = {name: self.strips.setdefault(f"{system}: {name}", []) for name in names}
        for step, opened in opened_moments(moments, system, self.problems):
            clouds = clouds_of(opened)
            for name, strip in strips.items():
                if self._usable(f"{system}: {name} at step {step}", clouds[name]):
                    strip.append(glance_at(clouds[name], step))

    def _usable(self, what: str, clouds: Clouds) -> bool:
        if not (usable := is_finite(clouds)):
            self.problems.append(f"{what}: not finite, or all points alike")
        return usable


def _claims(seen: _Seen) -> tuple[Claim, ...]:
    claims = []
    if seen.embedded is not None and (inputs := seen.spaces.get("GenSR: filtered")):
        claims.append(
            Claim(
                statement="Both tasks' inputs [f_cf, f_sem] have different distributions",
                holds=_differ(seen.embedded.ratio, inputs.linear),
                measured=f"overlap {_against(seen.embedded)} in t-SNE; told apart linearly {shown(inputs.linear)}",
            )
        )
    if seen.peer and (peer := seen.spaces.get(f"{seen.peer}: shared")):
        whole = seen.spaces.get(f"{seen.peer}: input")
        beside = f"; of its wholly shared `input` {_against(whole.overlap)}" if whole else ""
        claims.append(
            Claim(
                statement=f"The discriminative model ({seen.peer}) forces both tasks into one space",
                holds=verdict(peer.overlap.ratio, HALF),
                measured=_states(peer, seen.strips[f"{seen.peer}: shared"]) + beside,
            )
        )
    if gensr := seen.spaces.get("GenSR: hidden"):
        claims.append(
            Claim(
                statement="GenSR separates the tasks into subspaces",
                holds=verdict(gensr.overlap.ratio, HALF, above="no", below="yes"),
                measured=_states(gensr, seen.strips["GenSR: hidden"]),
            )
        )
    return tuple(claims)


def _differ(ratio: Estimate, accuracy: Estimate) -> Verdict:
    """Less overlap than within a task is a difference; as much, and nothing that tells them apart, is none."""
    if ratio.interval is None or accuracy.interval is None:
        return "undecided"
    if ratio.interval[1] < 1:
        return "yes"
    return "no" if ratio.interval[0] > ALIKE and holds_above(accuracy, 0.5) is None else "undecided"


def _states(space: Space, strip: Sequence[Glance]) -> str:
    before = [each for each in strip if each.step == 0]
    untrained = f"; before its training {_against(before[0].overlap)}" if before else ""
    return f"overlap {_against(space.overlap)}{untrained}; told apart linearly {shown(space.linear)}"


def _against(overlap: Overlap) -> str:
    return f"{shown(overlap.across)}, {shown(overlap.ratio)} of that within one task"


def _line(name: str, space: Space) -> str:
    return (
        f"{name}: linear {shown(space.linear)}, overlap {shown(space.overlap.across)} "
        f"(null {shown(space.overlap.null)}), angle {shown(space.angles.across, 0)} degrees "
        f"(null {shown(space.angles.null, 0)})"
    )


def _numbers(space: Space) -> dict[str, object]:
    return {
        "variance shown": round(space.shown, 4),
        "linear": recorded(space.linear),
        "neighbours": recorded(space.neighbours),
        "linear, null": recorded(space.null),
        "overlap": _overlap_numbers(space.overlap),
        "angles": {
            "directions": space.angles.directions,
            "across": recorded(space.angles.across),
            "null": recorded(space.angles.null),
        },
        "cka": space.likeness
        and {
            "users": space.likeness.users,
            "across": recorded(space.likeness.across),
            "null": recorded(space.likeness.null),
        },
    }


def _overlap_numbers(overlap: Overlap) -> dict[str, object]:
    return {name: recorded(estimate) for name, estimate in vars(overlap).items()}
