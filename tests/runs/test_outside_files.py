"""Which files from outside a stage depends on, for every source, and when their contents count as changed."""

import gzip
import os
from pathlib import Path

import pytest

from gensr_dist.config.root import Config, load_config
from gensr_dist.data.sources import kuaisar
from gensr_dist.runs import outside_files
from gensr_dist.runs.outside_files import FileState, OutsideFolder, differing
from gensr_dist.stages.prepare import Prepare
from gensr_dist.stages.train import Train


def config_of(source: str, raw: Path, *more: str) -> Config:
    return load_config(None, [f"data.source={source}", f"data.raw={raw}", *more])


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("tables", ("events.csv.gz", "items.parquet", "users.csv")),
        ("kuaisar", kuaisar.FILES),
        ("amazon", ("Beauty_5.json.gz", "meta_Beauty.json.gz")),
        ("amazon", ("reviews_Beauty_5.json", "meta_Beauty.json")),
        ("amazon", ("Beauty.jsonl", "meta_Beauty.jsonl.gz")),
    ],
)
def test_only_files_that_the_source_reads_count(tmp_path: Path, source: str, read: tuple[str, ...]) -> None:
    strangers = ("notes.txt", ".events.csv.swp", "events.xlsx", "runs/mine/events.csv", "runs/mine/metrics.json")
    for name in (*read, *strangers):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (folder,) = Prepare().outside(config_of(source, tmp_path)).values()
    assert set(folder.states({})) == set(read)


def test_simulated_logs_and_hub_names_are_nothing_outside() -> None:
    config = load_config(None, ["model.backbone=google/flan-t5-base", "data.tokenizer=google/flan-t5-base"])
    assert Prepare().outside(config) == Train().outside(config) == {}


def test_folders_of_a_pretrained_model(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md", ".gitattributes"):
        (tmp_path / name).write_text(name)
    config = load_config(None, [f"model.backbone={tmp_path}", f"data.tokenizer={tmp_path}"])
    assert set(Train().outside(config)["model.backbone"].states({})) == {"config.json", "model.safetensors"}
    assert set(Prepare().outside(config)["data.tokenizer"].states({})) == {"config.json", "tokenizer.json"}


def test_a_content_is_read_only_where_time_alone_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = outside_files.sha256_of_file
    monkeypatch.setattr(outside_files, "sha256_of_file", lambda path: read.append(path.name) or whole(path))
    folder, file = OutsideFolder(str(tmp_path), ("events.csv",)), tmp_path / "events.csv"
    file.write_text("a")
    first = folder.states({})
    assert (first["events.csv"].sha256, read) == ("", [])  # a log that turns out to be wrong is not read for this
    first = folder.with_digests(first)
    assert read == ["events.csv"]
    assert folder.states(first) == first
    assert read == ["events.csv"]
    os.utime(file, ns=(5, 5))
    touched = folder.states(first)
    assert differing(first, touched) == []
    assert touched["events.csv"].changed == file.stat().st_ctime_ns
    assert read == ["events.csv"] * 2
    assert folder.states(first) == touched
    assert read == ["events.csv"] * 2  # once a command
    file.write_text("b")
    os.utime(file, ns=(5, 5))  # as copying with its times does
    assert differing(first, folder.states(first)) == ["events.csv"]
    assert len(read) == 3
    file.write_text("bc")
    assert differing(first, folder.states(first)) == ["events.csv"]
    assert len(read) == 3  # another size is another content
    (tmp_path / "events.csv").unlink()
    assert folder.states(first) == first


def test_a_file_that_changes_while_it_is_used_never_counts_as_unchanged(tmp_path: Path) -> None:
    folder, file = OutsideFolder(str(tmp_path), ("*.gz",)), tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(b"a"))
    before = folder.states({})
    file.write_bytes(gzip.compress(b"another"))
    used = folder.with_digests(before)
    assert used["a.json.gz"].sha256 == ""
    assert differing(folder.with_digests(folder.states({})), used) == ["a.json.gz"]


def test_nor_where_its_size_stays(tmp_path: Path) -> None:
    folder, file = OutsideFolder(str(tmp_path), ("events.csv",)), tmp_path / "events.csv"
    file.write_text("a")
    before = folder.states({})
    assert folder.states(before) == before
    file.write_text("b")
    used = folder.with_digests(before)
    assert differing(used, folder.states(used)) == ["events.csv"]


def test_remote_files_are_known_by_their_sizes() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe_file("/outside/events.csv", b"abc")
    system.pipe_file("/outside/notes.txt", b"abc")
    folder = OutsideFolder("memory://outside", ("events.csv", "items.csv"))
    assert folder.with_digests(folder.states({})) == {"events.csv": FileState(size=3)}
