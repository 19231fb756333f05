import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gensr_dist.storage.durable import durable_file, durable_folder
from gensr_dist.storage.records import write_json
from gensr_dist.train.checkpoint_folder import write_checkpoint
from gensr_dist.train.state import PARTS


@pytest.fixture(params=[0o022, 0o002, 0o077])
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """What the umask leaves of a new file's mode."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def only_for_its_owner(path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(b"x")
    Path(file.name).replace(path)


def test_files_have_the_mode_of_the_umask_however_they_were_written(tmp_path: Path, mode: int) -> None:
    with durable_file(tmp_path / "files" / "a") as temporary:
        only_for_its_owner(temporary)
    write_json(tmp_path / "files" / "b.json", {})
    with durable_folder(tmp_path / "files" / "folder") as folder:
        (folder / "below").mkdir()
        only_for_its_owner(folder / "below" / "c")
        save_file({"x": torch.zeros(2)}, folder / "d.safetensors")
    assert modes(tmp_path / "files") == {mode}
    assert {path.name for path in (tmp_path / "files").rglob("*")} == {
        "a",
        "b.json",
        "folder",
        "below",
        "c",
        "d.safetensors",
    }


def test_so_have_those_of_checkpoints(tmp_path: Path, mode: int) -> None:
    write_checkpoint(tmp_path / "step_00000001", {part: {"x": torch.zeros(2)} for part in PARTS}, {})
    assert modes(tmp_path) == {mode}
