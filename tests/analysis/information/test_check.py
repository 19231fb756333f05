import json

import pytest

from gensr_dist.analysis.information import check as checking
from gensr_dist.analysis.information import estimators
from gensr_dist.analysis.information.channels import BinarySymmetricChannel, GaussianChannel
from gensr_dist.cli.main import main


def test_the_command_prints_estimates_against_known_information(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checking, "EXAMPLES", 1_000)
    monkeypatch.setattr(estimators, "STEPS", 20)
    channels = (
        *(GaussianChannel(dimensions=2, nats=nats) for nats in (0.0, 1.0, 3.0)),
        BinarySymmetricChannel(flip=0.1),
    )
    monkeypatch.setattr(checking, "CHANNELS", channels)
    assert main(["analyse", "mutual-information", "--check", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["max_relative_error_to_2_nats"] >= 0
    assert printed["above_2_nats"]["direction"] == "too low"
    assert printed["above_2_nats"]["size"] > 0
    assert [each["kind"] for each in printed["channels"]] == ["Gaussian"] * 3 + ["binary symmetric"]
    for channel in printed["channels"]:
        assert set(channel["estimates"]) == set(channel["spreads"]) == {"MINE", "InfoNCE", "NWJ"}
        assert (channel["relative_errors"]["MINE"] is None) == (channel["nats"] == 0)


def test_check_without_its_analysis_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "--check"]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_estimates_are_within_a_tenth_up_to_2_nats() -> None:
    found = checking.as_object(checking.check(print))
    assert found["max_relative_error_to_2_nats"] <= 0.10
    assert found["largest_estimate_of_nothing"] < 0.01
