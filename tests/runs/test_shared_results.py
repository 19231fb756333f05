"""Links between runs of one log."""

from pathlib import Path

from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.shared_results import link_shared


def test_runs_that_are_moved_together_keep_their_links(tmp_path: Path) -> None:
    first, run = tmp_path / "a" / "data", tmp_path / "a" / "trials" / "one"
    (first / "cf").mkdir(parents=True)
    (first / "cf" / "items").write_text("vectors")
    run.mkdir(parents=True)
    link_shared(RunFolder(run), RunFolder(first))
    (tmp_path / "a").rename(tmp_path / "b")
    assert (tmp_path / "b" / "trials" / "one" / "cf" / "items").read_text() == "vectors"


def test_a_link_to_where_the_results_were_is_made_anew(tmp_path: Path) -> None:
    first, run = tmp_path / "data", tmp_path / "run"
    (first / "cf").mkdir(parents=True)
    run.mkdir()
    (run / "cf").symlink_to(tmp_path / "before" / "cf")
    link_shared(RunFolder(run), RunFolder(first))
    assert (run / "cf").resolve() == first / "cf"
