"""The analysis `gradient-conflict`: do both tasks pull shared weights in opposite directions, over the training?

Dimensions: T moments, M mini-batches, K tasks.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import Claim, Finding
from gensr_dist.analysis.gradient_conflict.cosines import Conflict, Floats, conflict_of, difference
from gensr_dist.analysis.gradient_conflict.mini_batches import ROWS, MiniBatches, products_of_gensr, products_of_peer
from gensr_dist.analysis.gradient_conflict.pictures import charts_of, tables_of
from gensr_dist.analysis.intervals import recorded, shown, verdict
from gensr_dist.analysis.moments import moments_of_gensr, moments_of_peer, opened_moments
from gensr_dist.analysis.subject import NO_PEER, Subject
from gensr_dist.errors import InputError
from gensr_dist.train.conflict import ALL

_PROTOCOL = (
    "At each moment of its training that a model kept (and as it began, step 0), the gradients of both tasks' losses "
    "are compared on the same {batches} mini-batches of {rows} training rows a task, drawn with seed 0, with the same "
    "negatives (those of GenSR's training) and the CF vectors of folds that training reads: GenSR's task loss (eq. 9), "
    "the peer's ranking loss. Each model reads them through its own collator, without dropout. Losses that are of no "
    "task (contrast, match towers) are left out, and so are weights that one task alone uses, such as a peer's towers.",
    "A gradient of few rows is mostly noise, and noise pulls every cosine towards 0: a low cosine, or few negative "
    "ones, mean nothing alone. So the cosine of both tasks' gradients stands beside that of two mini-batches of the "
    "same task (the null, at equal rows; were the tasks one, both were alike), and from both follows the cosine of "
    "the expected gradients, which noise does not move: the mean of <g_rec, g_search> over pairs of different "
    "mini-batches, by the root of the means of <g, g'> of each task. The claims are decided by it, over the kept "
    "checkpoints, step 0 left out. 1 is no conflict, below 0 is one; it is about directions, not lengths. A mean over "
    "checkpoints hides what changes its sign from one to the next: the lines and the table by step show it.",
    "Intervals (95 %) resample mini-batches; those of shares are Wilson's, with mini-batches as independent trials. "
    "They say how sure the figures are for these trained models, not how they would vary with other seeds of training.",
)


@dataclass(frozen=True, kw_only=True)
class System:
    """A model's dot products of gradients over its training."""

    title: str
    steps: tuple[int, ...]  # T
    products: dict[str, Floats]  # [T, M, K, M, K] by layer; NaN where a layer was not shared

    @classmethod
    def of(cls, title: str, found: dict[int, dict[str, Floats]]) -> "System":
        """Of what each step gave."""
        names = list(dict.fromkeys(name for products in found.values() for name in products))
        shape = next(iter(next(iter(found.values())).values())).shape
        nothing = np.full(shape, np.nan)
        stacked = {name: np.stack([products.get(name, nothing) for products in found.values()]) for name in names}
        return cls(title=title, steps=tuple(found), products=stacked)

    @cached_property
    def over_training(self) -> dict[str, Conflict]:
        """Of each layer, at all checkpoints together."""
        return {layer: conflict_of(product_TMKMK[self.kept]) for layer, product_TMKMK in self.products.items()}

    @cached_property
    def by_step(self) -> dict[str, list[Conflict]]:
        """Of each layer, at each moment."""
        return {
            layer: [conflict_of(product_MKMK[None]) for product_MKMK in product_TMKMK]
            for layer, product_TMKMK in self.products.items()
        }

    @property
    def kept(self) -> np.ndarray:
        """Places of the checkpoints."""
        return np.flatnonzero(np.array(self.steps) > 0)

    @property
    def layers(self) -> list[str]:
        """Shared ones, without the sum of all."""
        return [name for name in self.products if name != ALL]


class GradientConflict(Analysis):
    """Cosine of both tasks' gradients at the same layer and step, GenSR and peer, on the same mini-batches."""

    name = "gradient-conflict"
    title = "Gradient conflict"
    summary = "cosine of both tasks' gradients by layer and step, GenSR and peer, beside that of one task alone"
    needs = ("prepare", "lightgcn", "channels", "train")
    compares = True

    def find(self, subject: Subject) -> Finding:
        """Raises InputError where a task has too few training rows, or nothing was kept of the training."""
        batches = MiniBatches.of(subject)
        config = subject.config
        collator = subject.data.collator(subject.run, config.data.history, config.model)
        likelihood = config.train.likelihood
        problems: list[str] = []
        moments = opened_moments(moments_of_gensr(subject), "GenSR", problems)
        own = {step: products_of_gensr(batches, collator, opened, likelihood) for step, opened in moments}
        if not any(step > 0 for step in own):
            raise InputError(subject.run.checkpoints, "no whole checkpoint of the training", "run `gensr train` again")
        gensr = _finite("GenSR", own, problems)
        systems = [System.of("GenSR", gensr)] if any(step > 0 for step in gensr) else []
        if subject.peer is None:
            problems.append(NO_PEER)
        else:
            title = subject.peer.title
            peer = opened_moments(moments_of_peer(subject), title, problems)
            found = _finite(title, {step: products_of_peer(batches, opened) for step, opened in peer}, problems)
            if any(step > 0 for step in found):
                systems.append(System.of(title, found))
            else:
                problems.append(f"{title}: nothing of its training to compare with, train it again")
        rows = {"batches": len(batches), "rows": ROWS}
        return Finding(
            name=self.name,
            title=self.title,
            protocol=tuple(text.format(**rows) for text in _PROTOCOL),
            numbers={system.title: _numbers(system) for system in systems} | {"mini-batches": rows},
            tables=tables_of(systems),
            charts=charts_of(systems),
            claims=_claims(systems),
            problems=tuple(problems),
            summary=tuple(_line(system) for system in systems),
        )


def _finite(title: str, found: dict[int, dict[str, Floats]], problems: list[str]) -> dict[int, dict[str, Floats]]:
    """Without moments whose gradients are not finite, or have no layer in common; they are told."""
    kept = {step: products for step, products in found.items() if np.isfinite(products.get(ALL, np.nan)).all()}
    problems += [f"{title} at step {step}: no finite gradient of shared weights" for step in found if step not in kept]
    return kept


def _numbers(system: System) -> dict[str, object]:
    def plain(conflict: Conflict) -> dict[str, object]:
        return {name: recorded(estimate) for name, estimate in vars(conflict).items()}

    by_step = {
        str(step): {layer: plain(found[place]) for layer, found in system.by_step.items()}
        for place, step in enumerate(system.steps)
    }
    return {"by step": by_step, "checkpoints": {layer: plain(found) for layer, found in system.over_training.items()}}


def _line(system: System) -> str:
    found = system.over_training[ALL]
    return (
        f"{system.title}: cosine of the tasks' gradients {shown(found.cosine)}, of one task's {shown(found.null)}; "
        f"negative {shown(found.negative)}, {shown(found.null_negative)}; expected gradients {shown(found.expected)}"
    )


def _claims(systems: list[System]) -> tuple[Claim, ...]:
    if len(systems) < 2:
        return ()
    gensr, peer = systems
    own, theirs = gensr.over_training[ALL], peer.over_training[ALL]
    less = difference(gensr.products[ALL][gensr.kept], peer.products[ALL][peer.kept])  # maybe of other numbers
    return (
        Claim(
            statement=f"The tasks' gradients conflict in the discriminative model ({peer.title})",
            holds=verdict(theirs.expected, 0, above="no", below="yes"),
            measured=f"cosine of expected gradients {shown(theirs.expected)}; negative in {shown(theirs.negative)} of "
            f"mini-batches",
        ),
        Claim(
            statement="GenSR's tasks conflict less than the discriminative model's",
            holds=verdict(less, 0),
            measured=f"cosine of expected gradients {shown(own.expected)} of GenSR, {shown(theirs.expected)} of "
            f"{peer.title}, difference {shown(less)}; share of negative cosines {shown(own.negative)} and "
            f"{shown(theirs.negative)}",
        ),
    )
