"""`gensr paper` on a log of seconds: everything is made, once."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.analysis.registry import ANALYSES
from gensr_dist.config.root import Config, load_config
from gensr_dist.errors import InputError
from gensr_dist.paper import findings, trainings
from gensr_dist.paper.driver import make_paper
from gensr_dist.paper.report import FIGURES, NUMBERS, REPORT, PaperResult
from gensr_dist.paper.trainings import ablations, study_of
from gensr_dist.runs.folder import RunFolder
from gensr_dist.study.spec import TrialSpec
from gensr_dist.study.trial import run_trial
from tests.study.studies import RUN

PAPER = """
paper: {seeds: 1, steps: 2, points: 3, peer: batch=64 epochs=2 history=5 patience=1 width=16 input_width=8}
analysis: {rows: 60, seeds: 1}
"""


class Here:
    """Does trials in this process."""

    places = 1

    def start(self, spec: TrialSpec) -> str:
        try:
            run_trial(Path(spec.folder))
        except InputError as error:
            return str(error)
        return ""

    def wait(self, started: Sequence[str]) -> tuple[int, str]:
        return 0, started[0]

    def stop(self, started: str) -> None:
        pass


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, PaperResult, list[str]]]:
    folder = tmp_path_factory.mktemp("paper")
    (folder / "run.yaml").write_text(RUN + PAPER)
    config = load_config(folder / "run.yaml", [f"run={folder / 'run'}"])
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (trainings, findings):
            patch.setattr(module, "ablations", lambda config: ablations(config)[:2])
        yield config, make_paper(config, Here(), said.append), said


def test_every_figure_is_made(paper: tuple[Config, PaperResult, list[str]]) -> None:
    config, result, _ = paper
    names = [finding.name for finding in result.findings]
    assert {"performance", "ablations", "sweeps", *(analysis.name for analysis in ANALYSES)} == set(names)
    folder = RunFolder.of(config).paper
    numbers = json.loads((folder / NUMBERS).read_text())
    charts = [chart for finding in numbers["findings"] for chart in finding["charts"]]
    assert len(charts) > 12
    made = {path.name for path in (folder / FIGURES).iterdir()}
    assert made == {f"{chart['name']}.{kind}" for chart in charts for kind in ("png", "pdf")}
    page = (folder / REPORT).read_text()
    assert page.count("<figure>") == len(charts)
    for finding in numbers["findings"]:
        for claim in finding["claims"]:
            assert f"<td>{claim['holds']}</td>" in page


def test_figures_stand_in_tensorboard(paper: tuple[Config, PaperResult, list[str]]) -> None:
    config, result, _ = paper
    events = EventAccumulator(str(RunFolder.of(config).tensorboard / "paper"), size_guidance={"images": 0})
    events.Reload()
    charts = {f"paper/{chart.name}" for finding in result.findings for chart in finding.charts}
    assert set(events.Tags()["images"]) == charts


def test_nothing_is_done_twice(paper: tuple[Config, PaperResult, list[str]]) -> None:
    config, result, _ = paper
    run = RunFolder.of(config)
    trials = study_of(config, run).folder / "trials"
    before = {path: path.stat().st_mtime_ns for path in trials.glob("*/outcome.json")}
    assert before
    said: list[str] = []
    again = make_paper(config, Here(), said.append)
    assert {path: path.stat().st_mtime_ns for path in trials.glob("*/outcome.json")} == before
    assert not [line for line in said if ": done in" in line]
    skipped = [line.partition(":")[0] for line in said if "unchanged, skipped" in line]
    assert len(skipped) == len(set(skipped)) > 0  # nor told of twice
    assert [finding.numbers for finding in again.findings] == [finding.numbers for finding in result.findings]


@pytest.mark.parametrize(
    ("peer", "problem"),
    [
        ("item_inptu=id", "unisar.item_inptu=id: unknown key"),
        ("item_input=id+cf,loss=ce", "unisar.item_input=id+cf,loss=ce: item_input is 'id+cf,loss=ce', expected"),
        ("width", "unisar.width: expected KEY=VALUE"),
    ],
)
def test_a_wrong_setting_of_the_peer_names_its_key(tmp_path: Path, peer: str, problem: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"run: {tmp_path / 'run'}\npaper: {{peer: '{peer}'}}\n")
    with pytest.raises(InputError) as caught:
        make_paper(load_config(path), Here(), print)
    assert str(caught.value).startswith(f"paper.peer: {problem}")
    assert not (tmp_path / "run").exists()
