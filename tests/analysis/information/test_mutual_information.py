import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gensr_dist.analysis.finding import Finding, read_finding
from gensr_dist.analysis.information import estimators, mutual_information
from gensr_dist.analysis.information.mutual_information import MutualInformation
from gensr_dist.analysis.states import States
from gensr_dist.analysis.subject import Subject
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.errors import InputError


def rows(count: int, users: int) -> EvalRows:
    rng = np.random.default_rng(0)
    own_R = np.arange(count)
    return EvalRows(own_R, own_R % users, own_R * 0, own_R * 0, own_R, rng.integers(0, 9, size=(count, 5)))


def states(scale: float, *, broken: bool = False) -> Callable[[object, EvalRows], States]:
    """Of a model whose log-odds its first input is, and say as much of clicks."""

    def of(_: object, chosen: EvalRows) -> States:
        rng = np.random.default_rng(0)
        clicked_X = np.arange(2 * len(chosen)) % 2 == 0
        input_XD = rng.normal(size=(len(clicked_X), 4)).astype(np.float32)
        input_XD[:, 0] += np.where(clicked_X, scale, -scale)
        log_odds_X = 2 * scale * input_XD[:, 0]
        if broken:
            input_XD[:40] = np.nan
        return States(
            input_XD=input_XD,
            filtered_XF=input_XD[:, :0],
            hidden_XD=input_XD,
            shared_XD=input_XD,
            log_odds_X=log_odds_X,
        )

    return of


def subject(count: int = 300, users: int = 200, *, peer: bool = True) -> SimpleNamespace:
    given = SimpleNamespace(
        rows={task: rows(count, users) for task in Behaviour},
        run=SimpleNamespace(root=Path("run")),
        config=SimpleNamespace(analysis=SimpleNamespace(seeds=5)),
        trained=None,
        opened_peer=SimpleNamespace(peer=SimpleNamespace(title="UniSAR")) if peer else None,
    )
    given.both_tasks = partial(Subject.both_tasks, given)
    return given


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finding]:
    def found(given: SimpleNamespace, *, peer_scale: float = 0.5, broken: bool = False) -> Finding:
        monkeypatch.setattr(estimators, "STEPS", 60)
        monkeypatch.setattr(mutual_information, "_at_this_size", lambda *_: ())
        monkeypatch.setattr(mutual_information, "states_of_gensr", states(1.5))
        monkeypatch.setattr(mutual_information, "states_of_peer", states(peer_scale, broken=broken))
        return MutualInformation().find(given)

    return found


def test_the_model_that_says_more_is_found_to_say_more(find: Callable[..., Finding], tmp_path: Path) -> None:
    finding = find(subject())
    assert [claim.holds for claim in finding.claims] == ["yes", "yes"]
    assert not finding.problems
    for of_task in finding.numbers["bits"].values():
        for model, figures in of_task.items():
            assert -0.1 < figures["MINE"].bits < 1
            assert figures["MINE"].low <= figures["MINE"].bits <= figures["MINE"].high
            assert len(figures["MINE"].by_seed) == 5
            assert figures["MINE"].bits == pytest.approx(figures["plug-in"].bits, abs=0.15), model
            assert figures["clicked, MINE"].bits == pytest.approx(figures["plug-in"].bits, abs=0.2), model
    assert finding.tables[0].heads[0] == "method"
    assert [row[0] for row in finding.tables[0].rows] == ["GenSR", "UniSAR"]
    finding.write(tmp_path)
    assert read_finding(tmp_path).claims == finding.claims


def test_without_a_peer_gensr_stands_alone(find: Callable[..., Finding]) -> None:
    finding = find(subject(peer=False))
    assert not finding.claims
    assert len(finding.problems) == 1
    assert "--peer" in finding.problems[0]


def test_not_a_number_fails_its_figures_and_not_the_report(find: Callable[..., Finding]) -> None:
    finding = find(subject(), broken=True)
    assert any("UniSAR" in problem and "not a number" in problem for problem in finding.problems)
    assert math.isfinite(next(iter(finding.numbers["bits"].values()))["GenSR"]["MINE"].bits)
    assert {claim.holds for claim in finding.claims} == {"undecided"}


def test_too_few_users_are_one_line(find: Callable[..., Finding]) -> None:
    with pytest.raises(InputError, match="90 users"):
        find(subject(users=90))
