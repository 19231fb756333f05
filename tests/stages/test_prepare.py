"""What `gensr prepare` says of the log at its end."""

from pathlib import Path

import pytest

from gensr_dist.analysis.log.brief import LogBrief
from gensr_dist.config.root import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.prepare import Prepare
from gensr_dist.stages.stage import Job, Outcome, PrepareWorkers


def prepared(folder: Path) -> Outcome:
    """A log of clicks on the same two items of each user, over and over."""
    raw = folder / "raw"
    raw.mkdir()
    clicks = [
        f"u{user},i{2 * user + n % 2},rec,{1_700_000_000_000 + 86_400_000 * n + user}"
        for user in range(9)
        for n in range(12)
    ]
    (raw / "events.csv").write_text("user_id,item_id,behaviour,time\n" + "\n".join(clicks) + "\n")
    (raw / "items.csv").write_text("item_id,text\n" + "\n".join(f"i{n},thing number{n}" for n in range(18)) + "\n")
    data = DataConfig(
        source="tables", raw=str(raw), split="leave_one_out", both_behaviours=False, vocabulary=300, eval_negatives=9
    )
    config = Config(run=str(folder / "run"), data=data)
    return Prepare().do(Job(config=config, run=RunFolder.of(config), workers=PrepareWorkers(processes=1)))


def test_it_says_what_matters_and_warns(tmp_path: Path) -> None:
    outcome = prepared(tmp_path)
    begins = [line.split(":")[0].split(",")[0] for line in outcome.summary]
    assert begins[-5:] == ["log", "test rows", "both tasks", "warning", "warning"]
    assert outcome.result["users"] == 9
    no_search, repeats = outcome.result["warnings"]
    assert no_search.startswith("no positive event is of search: ")
    assert repeats.startswith("100.0% of test items of rec stand in their own history")


def test_shards_that_cannot_be_looked_at_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(shards: object) -> None:
        raise InputError("there", "the storage is slow", "wait")

    monkeypatch.setattr(LogBrief, "of_shards", fail)
    outcome = prepared(tmp_path)
    (warning,) = outcome.result["warnings"]
    assert warning.startswith("the log could not be looked at: there: the storage is slow")
