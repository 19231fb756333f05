"""Logs that one accident has happened to: the check says what reading the log says, error or counts.

NASTY_LOGS sets how many random logs are tried.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.checking.log_check import check_log
from gensr_dist.data.checking.page import WIDTH, page
from gensr_dist.data.config import DataConfig
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError
from tests.data.sources.test_nasty_logs import COMBINATIONS, spoil

Counts = dict[str, int]


def read(config: DataConfig, folder: Path) -> Counts | str:
    """What was fixed, or the error."""
    try:
        return {repair.what: repair.count for repair in read_source(config, folder).repairs}
    except InputError as error:
        return str(error)


def check(config: DataConfig, folder: Path) -> tuple[Counts, str]:
    """What the report says was fixed, and the error, empty for none."""
    try:
        report = check_log(config, str(folder), full=True)
    except InputError as error:
        return {}, str(error)
    assert all(len(line) <= WIDTH for line in page(report))
    return {repair.what: repair.count for repair in report.repairs}, str(report.refusal or "")


@settings(max_examples=int(os.environ.get("NASTY_LOGS", "100")))
@given(combination=st.sampled_from(COMBINATIONS), seed=st.integers(0, 1 << 32))
def test_says_what_reading_says(combination: tuple[str, str], seed: int) -> None:
    _, log = spoil(*combination, seed)
    if log is None:
        return
    config = DataConfig(source=log.source, min_interactions=1, both_behaviours=False, eval_negatives=1)
    with tempfile.TemporaryDirectory() as name:
        folder = log.write(Path(name))
        expected, (repairs, refusal) = read(config, folder), check(config, folder)
    if isinstance(expected, str):
        assert refusal == expected
    else:
        assert expected.items() <= repairs.items()
