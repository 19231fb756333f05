from dataclasses import dataclass
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.storage.checkpoint_series import CheckpointSeries, Settings, check_same_settings


@dataclass(frozen=True)
class Progress:
    steps: int


def series_in(folder: Path) -> CheckpointSeries[Progress]:
    return CheckpointSeries(folder=folder, tables=("table",), progress=Progress, remedy="start over")


def write(series: CheckpointSeries[Progress], steps: int) -> Path:
    with series.written(steps, Progress(steps)) as temporary:
        (temporary / "table").write_bytes(b"numbers")
    return series.path(steps)


def test_the_newest_whole_one_is_found_and_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    series = series_in(tmp_path / "checkpoints")
    assert series.newest_whole() is None
    paths = [write(series, steps) for steps in (5, 20, 100)]
    assert series.newest_whole() == paths[2]
    (paths[2] / "table").write_bytes(b"Numbers")
    assert series.newest_whole() == paths[1]
    assert "checkpoint step_00000100 is damaged (table: the file was changed" in caplog.text
    assert series.read(paths[1]) == Progress(20)
    for path in paths[:2]:
        (path / "state.json").unlink()
    with pytest.raises(InputError, match=r"none of its 3 checkpoints is whole: in step_00000100, table: .*start over"):
        series.newest_whole()


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    series = series_in(tmp_path)
    path = write(series, 1)
    with pytest.raises(FileNotFoundError), series.written(1, Progress(1)) as temporary:
        (temporary / "nowhere" / "table").write_bytes(b"half")
    assert (series.damage(path), [left.name for left in tmp_path.iterdir()]) == (None, ["step_00000001"])


def test_pruning_spares_what_is_none_of_its_own(tmp_path: Path) -> None:
    series = series_in(tmp_path)
    write(series, 1)
    write(series, 2)
    for left in (".step_00000003.12.tmp", ".step_00000001.old", "best_00001"):
        (tmp_path / left).mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "latest").write_text("step_00000002")
    series.keep_only({"step_00000002"})
    assert {path.name for path in tmp_path.iterdir()} == {"latest", "notes", "step_00000002"}


def test_other_settings_are_named() -> None:
    found: Settings = {"a": 1, "b": 2, "c": 3, "d": 4, "same": 5}
    check_same_settings(Path("x"), found, dict(found), "start over")
    with pytest.raises(
        InputError, match="a was 1 and is None, b was 2 and is 0, c was 3 and is 0 and 1 more; start over"
    ):
        check_same_settings(Path("x"), found, {"b": 0, "c": 0, "d": 0, "same": 5}, "start over")
