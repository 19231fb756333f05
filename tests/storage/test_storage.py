"""A folder behind a URL gives what the same folder on disk gives, and fails with the same lines."""

import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from gensr_dist.errors import InputError
from gensr_dist.storage import cache as cache_module
from gensr_dist.storage import transfers
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.checked_files import DamagedError
from gensr_dist.storage.folder import Folder
from gensr_dist.storage.publish import UNFINISHED, publish

FILES = {
    "manifest.json": json.dumps({"shards": [{"name": "a.tar"}, {"name": "b.tar"}], "files": [{"name": "items/x"}]}),
    "a.tar": "first" * 99,
    "b.tar": "second",
    "items/x": "table",
}
NEWER = {
    "manifest.json": json.dumps({"shards": [{"name": "a.tar"}, {"name": "c.tar"}], "files": []}),
    "a.tar": "newer",
    "c.tar": "third",
}


class Weak(MemoryFileSystem):  # type: ignore[misc]
    """Storage that fails before the calls that `fails` chooses."""

    protocol = "weak"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    fails: Callable[[str], Exception | None] = staticmethod(lambda _: None)
    calls: list[str] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("weak://", "memory://")))

    def _ask(self, call: str) -> None:
        Weak.calls.append(call)
        error = Weak.fails(call)
        if error is not None:
            raise error

    def _open(self, *args: Any, **options: Any) -> Any:
        self._ask("open")
        return super()._open(*args, **options)

    def find(self, *args: Any, **options: Any) -> Any:
        self._ask("find")
        return super().find(*args, **options)

    def pipe_file(self, *args: Any, **options: Any) -> None:
        self._ask("write")
        super().pipe_file(*args, **options)

    def put_file(self, *args: Any, **options: Any) -> None:
        self._ask("write")
        super().put_file(*args, **options)

    def rm_file(self, path: str) -> None:
        self._ask("write")
        super()._rm(path)


fsspec.register_implementation("weak", Weak, clobber=True)
fsspec.register_implementation("packed", "no_such_package.Files", clobber=True, errtxt="get it")


def in_turn(*errors: Exception | None) -> Callable[[str], Exception | None]:
    left = iter(errors)
    return lambda _: next(left, None)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_kept", {})
    monkeypatch.setattr(transfers, "_PAUSE_S", 0.0)
    monkeypatch.setattr(Weak, "fails", staticmethod(lambda _: None))
    monkeypatch.setattr(Weak, "calls", [])
    MemoryFileSystem.store.clear()
    Weak.store.clear()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10_000, patience_s=1)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    write(folder, FILES)
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture(params=["path", "file", "memory", "weak"])
def folder(request: pytest.FixtureRequest, local: Path, cache: Cache) -> Folder:
    """The same files in every kind of place."""
    if request.param in ("path", "file"):
        return Folder.at(local if request.param == "path" else f"file://{local}", cache)
    remote = Folder.at(f"{request.param}://bucket/shards/", cache)
    for name, text in FILES.items():
        remote.put(name, text.encode())
    Folder.at(f"{request.param}://bucket/shards2").put("neighbour", b"not of this folder")
    return remote


def record(text: str) -> tuple[str, int]:
    return hashlib.sha256(text.encode()).hexdigest(), len(text)


def test_reading(folder: Folder) -> None:
    assert folder.sizes() == {name: len(text) for name, text in FILES.items()}
    assert list(folder.sizes()) == sorted(FILES)
    assert folder.read_json("manifest.json", "") == json.loads(FILES["manifest.json"])
    for name, text in FILES.items():
        assert folder.read(name, *record(text)) == text.encode()
        with folder.file(name, *record(text)) as path:
            assert path.read_text() == text
    kept = folder.keep("items/x", *record(FILES["items/x"]))
    assert kept.read_text() == FILES["items/x"]
    assert (folder.local is not None) == (not folder.place.startswith(("memory", "weak")))


def test_a_folder_that_is_not_there(folder: Folder) -> None:
    missing = Folder.at(f"{folder.place}/missing", folder.cache)
    assert missing.sizes() == {}
    with pytest.raises(InputError, match=r"missing/manifest\.json: the file does not exist; prepare it"):
        missing.read_json("manifest.json", "prepare it")


def test_files_that_vanish_while_they_are_listed_are_left_out(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Path.stat

    def vanish(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "b.tar":
            path.unlink(missing_ok=True)
        return look(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", vanish)
    (local / "nothing").symlink_to("nowhere")
    (local / "itself").symlink_to("itself")
    assert Folder.at(local).sizes() == {name: len(text) for name, text in FILES.items() if name != "b.tar"}


def test_a_json_file_that_is_none(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"a\.tar: expected a JSON file \(.*\); prepare it"):
        folder.read_json("a.tar", "prepare it")


@pytest.mark.parametrize(
    ("name", "expected", "problem"),
    [
        ("b.tar", "Second", r"shards/b\.tar: the file was changed: its checksum does not match the manifest; "),
        ("b.tar", "second shard", r"shards/b\.tar: the file is cut short: 6 of 12 bytes; "),
        ("b.tar", "sec", r"shards/b\.tar: the file has grown: 6 bytes instead of 3; "),
        ("c.tar", "third", r"shards/c\.tar: the manifest lists this file, but it is missing; "),
    ],
)
def test_damage_has_one_message_everywhere(folder: Folder, name: str, expected: str, problem: str) -> None:
    with pytest.raises(DamagedError, match=problem) as caught:
        folder.read(name, *record(expected))
    if name in FILES:
        assert (caught.value.sha256, caught.value.size) == record(FILES[name])  # tells which shard it is
    if folder.cache is not None and folder.cache.folder.exists():
        assert {path.name for path in folder.cache.folder.iterdir()} == {"lock"}  # no bad copy


def test_a_copy_that_the_disk_changed_is_fetched_again(cache: Cache) -> None:
    remote = Folder.at("weak://bucket/shards", cache)
    remote.put("b.tar", b"second")
    digest, size = record("second")
    remote.read("b.tar", digest, size)
    (cache.folder / digest).write_text("Second")
    assert remote.read("b.tar", digest, size) == b"second"


@pytest.mark.parametrize("name", ["../secret", "items/../../secret", "/etc/passwd", "", "a\\..\\b"])
def test_names_stay_inside(folder: Folder, name: str) -> None:
    for action in (lambda: folder.read(name, *record("")), lambda: folder.where(name)):
        with pytest.raises(InputError, match="leads outside the folder"):
            action()


def test_names_of_objects_are_not_trusted() -> None:
    MemoryFileSystem.store["/bucket/shards/../secret"] = MemoryFileSystem().open("/x", "wb")
    MemoryFileSystem.store["/bucket/shards/../secret"].close()
    with pytest.raises(InputError, match="leads outside the folder"):
        Folder.at("memory://bucket/shards").sizes()


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("nowhere://bucket/x", r"^nowhere://bucket/x: fsspec knows no storage nowhere://; use a path or a URL"),
        ("packed://bucket/x", r"^packed://bucket/x: the package for packed:// is missing \(get it\); "),
        ("ftp://me:secret@host/x", r"^ftp://\.\.\.: the URL holds a password; set the credentials in the environment"),
        ("simplecache::memory://bucket", r"expected a path or one URL"),
        ("://x", r"expected a path or one URL"),
    ],
)
def test_places_that_cannot_be_opened(place: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        Folder.at(place)
    assert "secret" not in str(caught.value)


def test_passing_failures_are_tried_again(local: Path, cache: Cache) -> None:
    remote = Folder.at("weak://bucket/shards", cache)
    Weak.fails = staticmethod(in_turn(None, ConnectionResetError("reset"), None, TimeoutError("late")))
    publish(local, remote)
    Weak.fails = staticmethod(in_turn(OSError("slow down"), ConnectionResetError("reset")))
    assert remote.read("b.tar", *record(FILES["b.tar"])) == b"second"
    Weak.fails = staticmethod(lambda _: ConnectionResetError("the line\nis cut"))
    with pytest.raises(InputError, match=r"a\.tar: the storage does not answer as expected \(the line is cut\)"):
        remote.read("a.tar", *record(FILES["a.tar"]))


def test_a_denied_call_is_not_tried_again(cache: Cache) -> None:
    Weak.fails = staticmethod(lambda _: PermissionError("Access Denied"))
    with pytest.raises(InputError, match=r"weak://b/x: access was denied \(Access Denied\); set the credentials"):
        Folder.at("weak://b/x", cache).sizes()
    assert Weak.calls == ["find"]


def test_a_bug_is_not_called_bad_input(cache: Cache) -> None:
    Weak.fails = staticmethod(lambda _: TypeError("a bug"))
    with pytest.raises(TypeError):
        Folder.at("weak://b/x", cache).sizes()


def test_a_transfer_that_garbled_bytes_is_tried_again(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Folder.at("weak://bucket/shards", cache)
    remote.put("b.tar", b"second")
    original = Weak._open
    opened = itertools.count()

    def garble(self: Weak, *args: Any, **options: Any) -> Any:
        stream = original(self, *args, **options)
        if next(opened) == 0:
            copy = MemoryFileSystem().open("/garbled", "wb")
            copy.write(stream.read().upper())
            copy.close()
            return MemoryFileSystem().open("/garbled", "rb")
        return stream

    monkeypatch.setattr(Weak, "_open", garble)
    assert remote.read("b.tar", *record("second")) == b"second"


def test_an_object_that_grew_takes_no_more_room_than_listed(cache: Cache) -> None:
    remote = Folder.at("weak://bucket/shards", cache)
    remote.put("b.tar", b"second" * 1_000)
    target = io.BytesIO()
    with pytest.raises(DamagedError, match="has grown: 6000 bytes instead of 6"):
        remote._filler("b.tar", *record("second"), progress=False)(target)
    assert target.getvalue() == b"second"


def contents(remote: Folder) -> dict[str, str]:
    system, root = fsspec.core.url_to_fs(remote.place)
    return {name: system.cat_file(f"{root}/{name}").decode() for name in remote.sizes()}


def test_publishing_replaces_what_was_published(local: Path, tmp_path: Path) -> None:
    remote = Folder.at("weak://bucket/shards")
    publish(local, remote)
    assert contents(remote) == FILES
    write(tmp_path / "newer", NEWER)
    Weak.calls.clear()
    publish(tmp_path / "newer", remote)
    assert contents(remote) == NEWER
    assert Weak.calls.count("write") == 8  # all of which the test below interrupts


@pytest.mark.parametrize("manifest", [None, "{}", json.dumps({"shards": [{"name": "a.tar"}], "files": 3}), "no JSON"])
def test_files_of_others_are_left_alone(local: Path, manifest: str | None) -> None:
    remote = Folder.at("weak://bucket/shards")
    theirs = {"thesis.doc": "years of work", "a.tar": "holiday"}
    if manifest is not None:
        theirs["manifest.json"] = manifest
    for name, text in theirs.items():
        remote.put(name, text.encode())
    with pytest.raises(InputError, match=r"(no manifest lists|expected a JSON file).*(give|delete)"):
        publish(local, remote)
    assert contents(remote) == theirs


@pytest.mark.parametrize("survived", range(8))
def test_an_interruption_leaves_no_manifest_that_lies(local: Path, tmp_path: Path, survived: int) -> None:
    remote = Folder.at("weak://bucket/shards")
    publish(local, remote)
    write(tmp_path / "newer", NEWER)
    left = iter(range(survived))
    Weak.fails = staticmethod(
        lambda call: KeyboardInterrupt() if call == "write" and next(left, None) is None else None
    )
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "newer", remote)
    Weak.fails = staticmethod(lambda _: None)

    present = contents(remote)
    present.pop(UNFINISHED, None)
    if "manifest.json" in present:
        assert present in (FILES, NEWER)
    publish(tmp_path / "newer", remote)
    assert contents(remote) == NEWER


def test_a_forked_child_reads_by_itself(local: Path, tmp_path: Path) -> None:
    remote = Folder.at("memory://bucket/shards", Cache(tmp_path / "cache", 10_000))
    publish(local, remote)
    child = os.fork()
    if not child:
        os._exit(remote.read("b.tar", *record(FILES["b.tar"])) != b"second")
    assert os.waitpid(child, 0)[1] == 0
