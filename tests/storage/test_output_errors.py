"""A disk without room, played by a limit on the size of files: real writes of real libraries fail."""

import errno
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from gensr_dist.cli.main import main
from gensr_dist.errors import InputError
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.output_errors import as_input_error, numbered_errors, quieten_writing_threads
from gensr_dist.storage.records import write_json
from gensr_dist.train.state import PARTS
from gensr_dist.train.tensor_files import write_tensors


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes beyond it end with EFBIG, as those on a full disk with ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


TABLE = np.random.default_rng(0).random((500, 50), dtype=np.float32)
WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(TABLE.tobytes()),
    "numpy": lambda path: np.save(path.with_suffix(".npy"), TABLE),
    "numpy to an open file": lambda path: TABLE.tofile(path),
    "torch": lambda path: torch.save({"x": torch.from_numpy(TABLE)}, path),
    "safetensors": lambda path: save_file({"x": torch.from_numpy(TABLE)}, path),
    "tokenizers": lambda path: Tokenizer(WordLevel({str(n): n for n in range(5_000)}, unk_token="0")).save(str(path)),
    "polars": lambda path: pl.DataFrame(TABLE).write_parquet(path),
    "faiss": lambda path: faiss.write_index(_index(), str(path)),
}


def _index() -> faiss.Index:
    index = faiss.IndexFlatIP(50)
    index.add(TABLE)
    return index


@pytest.mark.parametrize("writer", WRITERS)
def test_every_library_says_the_same_and_leaves_nothing(tmp_path: Path, writer: str) -> None:
    target = tmp_path / "folder"
    with (
        pytest.raises(OSError, match=r"File too large|Input/output error") as caught,
        largest_file(20_000),
        durable_folder(target) as folder,
    ):
        WRITERS[writer](folder / "file")
    assert caught.value.errno in (errno.EFBIG, errno.EIO)  # numpy and torch do not keep the reason
    assert str(caught.value.filename).startswith(str(tmp_path))
    problem = as_input_error(caught.value)
    assert problem is not None
    assert str(problem).endswith("; free space, or write elsewhere (`run`, `--out`)")
    assert list(tmp_path.iterdir()) == []


def test_an_old_result_stays_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(OSError, match="File too large"), largest_file(100):
        write_json(tmp_path / "a.json", list(range(1_000)))
    assert (tmp_path / "a.json").read_text() == "[\n  1\n]\n"
    state = {part: {"x": torch.from_numpy(TABLE)} for part in PARTS}
    with pytest.raises(OSError, match="File too large"), largest_file(20_000), durable_folder(tmp_path / "a") as folder:
        write_tensors(folder, state)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_errors_of_other_kinds_stay_what_they_are(tmp_path: Path) -> None:
    bugs = (ValueError("a bug"), RuntimeError("CUDA error"), pl.exceptions.ComputeError("overflow"))
    for error in (*bugs, InputError("a", "No space left on device", "b")):
        with pytest.raises(type(error)) as caught, numbered_errors(tmp_path):
            raise error
        assert caught.value is error
    assert as_input_error(OSError(errno.ECONNRESET, "reset")) is None
    with pytest.raises(OSError, match="reset") as reset, numbered_errors(tmp_path):
        raise OSError(errno.ECONNRESET, "reset")
    assert reset.value.filename is None


def _write_csv(table: pl.DataFrame, path: Path) -> None:
    with path.open("wb") as file:
        table.write_csv(file)


@pytest.mark.parametrize("write", [_write_csv, pl.DataFrame.write_parquet])
def test_a_full_disk_has_number_and_file_where_polars_writes(write: Callable[[pl.DataFrame, Path], None]) -> None:
    full = Path("/dev/full")  # every write to it finds no room
    with pytest.raises(OSError, match="No space left") as caught, numbered_errors(full):
        write(pl.DataFrame({"number": range(100_000)}), full)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


@pytest.mark.parametrize("size", [500, 3_000, 30_000])
def test_a_command_ends_with_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], size: int) -> None:
    run = tmp_path / "run"
    with largest_file(size):
        assert main(["simulate", "--preset", "tiny", "--set", f"run={run}"]) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith(f"gensr: error: {run}/")
    assert error.endswith("File too large; free space, or write elsewhere (`run`, `--out`)")
    assert not (run / "raw").exists()
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("place", ["stages", "run"])
def test_a_link_to_nothing_where_a_folder_belongs_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    run = tmp_path / "run"
    link = run / "stages" if place == "stages" else run
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "gone")
    command = ["simulate", "--preset", "tiny", "--set", f"run={run}"]
    assert main(command) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"gensr: error: {link}: ")
    assert "File exists" in error
    assert error.count("\n") == 1
    link.unlink()
    assert main(command) == 0


def test_threads_of_tensorboard_print_no_traceback_of_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    printed: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: printed.append(failed.exc_type))
    quieten_writing_threads()
    writer = SummaryWriter(str(tmp_path))
    with largest_file(1_000):
        writer.add_text("a", "b" * 10_000)
        with pytest.raises(OSError, match="File too large"):
            writer.flush()
    assert printed == []
    bug = threading.Thread(target=lambda: 1 / 0)
    bug.start()
    bug.join()
    assert printed == [ZeroDivisionError]
