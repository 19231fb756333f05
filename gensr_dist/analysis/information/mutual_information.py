"""Mutual information of a model's input and its answer, of GenSR and of a discriminative peer (table 1, eq. 12).

Dimensions: X examples, U users, B resamples.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import Finding
from gensr_dist.analysis.information.channels import AnswerChannel, BinarySymmetricChannel, Channel, GaussianChannel
from gensr_dist.analysis.information.check import Checked, check_chart, check_table
from gensr_dist.analysis.information.estimators import estimates
from gensr_dist.analysis.information.examples import CalibratedAnswers, Users, resamples
from gensr_dist.analysis.information.figures import Figure, Measured, measure
from gensr_dist.analysis.information.report import COLUMNS, PROTOCOL, bars, claim, paper_table, shown, whole_table
from gensr_dist.analysis.states import States, states_of_gensr, states_of_peer
from gensr_dist.analysis.subject import NO_PEER, Subject
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.metrics import TASK_NAMES

FEWEST_USERS = 100  # of a task
_CHECK_SEEDS = 5
_SCALE = 2.5  # of the log-odds of the channels at the run's own size: about .4 bits
_GENSR = "GenSR"

_Models: TypeAlias = Mapping[str, Callable[[EvalRows], States]]


class MutualInformation(Analysis):
    """Table 1, with what its estimates are worth."""

    name = "mutual-information"
    title = "Mutual information of input and answer"
    summary = "MINE between a model's input and its answer, GenSR against its peer (table 1); --check checks it"
    compares = True

    def find(self, subject: Subject) -> Finding:
        """As `Analysis`."""
        rows = subject.both_tasks(FEWEST_USERS, FEWEST_USERS)
        models: dict[str, Callable[[EvalRows], States]] = {
            _GENSR: lambda chosen: states_of_gensr(subject.trained, chosen)
        }
        problems: list[str] = []
        peer = subject.opened_peer
        if peer is None:
            problems.append(NO_PEER)
        else:
            models[peer.peer.title] = lambda chosen: states_of_peer(peer, chosen)
        results: dict[str, Mapping[str, Measured]] = {}
        differences: dict[str, Mapping[str, Figure]] = {}
        sizes: list[tuple[int, int]] = []
        for task, of_task in rows.items():
            name = TASK_NAMES[task]
            measured, size = _measured(of_task, models, subject.config.analysis.seeds)
            results[name], differences[name] = measured, _differences(measured)
            sizes.append((len(of_task), size))
            problems += [f"{name}, {model}: {text}" for model, each in measured.items() for text in each.problems]
        figures = {task: {model: _figures(each) for model, each in of.items()} for task, of in results.items()}
        entropies = {task: {model: each.entropy for model, each in of.items()} for task, of in results.items()}
        widest = max(each.width for of in results.values() for each in of.values())
        fewest = min(size for _, size in sizes)
        near = _at_this_size(fewest, widest)
        return Finding(
            name=self.name,
            title=self.title,
            protocol=PROTOCOL,
            numbers={
                "bits": figures,
                "entropy_bits": entropies,
                "input_width": {
                    task: {model: each.width for model, each in of.items()} for task, of in results.items()
                },
                "gensr_less_peer_bits": differences,
                "rows": {name: count for name, (count, _) in zip(results, sizes, strict=True)},
                "channels_at_this_size": near,
            },
            tables=(
                paper_table(figures),
                whole_table(figures, entropies),
                check_table(
                    near,
                    "The estimators on channels of known information, with as few examples as here (nats)",
                    f"{fewest} examples, divided as here, each drawn once; one of two answers is a sum over x, the "
                    "other of products of two halves of it, as where a user's part meets an item's. "
                    "`gensr analyse mutual-information --check` is the check with many examples.",
                ),
            ),
            charts=(bars(figures), check_chart(near)),
            claims=tuple(
                claim(task, peer.peer.title, of_task) for task, of_task in differences.items() if peer is not None
            ),
            problems=tuple(problems),
            summary=tuple(
                f"{task}, {model}: MINE {shown(each.get('MINE'))} bits, plug-in {shown(each.get('plug-in'))}"
                for task, of in figures.items()
                for model, each in of.items()
            ),
        )


def _measured(rows: EvalRows, models: _Models, seeds: int) -> tuple[Mapping[str, Measured], int]:
    """Each model's figures on the same users, and how many examples they are of."""
    pairs = dataclasses.replace(rows, candidate_RC=rows.candidate_RC[:, :2])
    user_X = np.repeat(pairs.user_R, 2)
    users = Users.divided(user_X, seeds)
    every_U = np.setdiff1d(user_X, users.calibrating_U)
    found = {
        name: measure(CalibratedAnswers.of(states(pairs), user_X, users), users, every_U)
        for name, states in models.items()
    }
    return found, len(user_X)


def _figures(measured: Measured) -> dict[str, Figure]:
    weight_BU = resamples(len(measured.parts["plug-in"].total_U))
    return {name: Figure.of(parts, weight_BU, measured.by_seed.get(name, ())) for name, parts in measured.parts.items()}


def _differences(measured: Mapping[str, Measured]) -> dict[str, Figure]:
    """GenSR less its peer, where both have a figure."""
    if len(measured) < 2:
        return {}
    first, second = (each.parts for each in measured.values())
    weight_BU = resamples(len(first["plug-in"].total_U))
    return {
        name: Figure.of_difference(first[name], second[name], weight_BU)
        for name in COLUMNS
        if name in first and name in second
    }


def _at_this_size(examples: int, width: int) -> tuple[Checked, ...]:
    """What the same estimators say of known information in as many examples, and of answers from x of a width."""
    channels: tuple[Channel, ...] = (
        *(GaussianChannel(dimensions=size, nats=nats) for size in (2, 20) for nats in (0.5, 2.0, 4.0)),
        BinarySymmetricChannel(flip=0.11),
        *(AnswerChannel(dimensions=width, scale=_SCALE, products=products) for products in (False, True)),
    )
    users = Users.divided(np.arange(examples), _CHECK_SEEDS)
    found = []
    for number, channel in enumerate(channels):
        samples = channel.draw(examples, np.random.default_rng(number))
        found.append(Checked.of(channel, estimates(samples, users.splits(samples.group_N), seed=number)))
    return tuple(found)
