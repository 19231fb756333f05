"""The folder of the channels: what is written comes back; damaged, edited and foreign folders do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.stage import FILES, RECORD, ChannelArrays, build_channels
from tests.retrieval.world import random_world


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, small_store: TimelineStore, small_items: ItemStore) -> Path:
    """Do not change it."""
    folder = tmp_path_factory.mktemp("channels") / "channels"
    build_channels(small_store, small_items, folder)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    for path in built.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_lists_come_back(built: Path, small_store: TimelineStore, small_items: ItemStore) -> None:
    expected = ChannelArrays.build(ChannelSources.of(small_store, small_items))
    found = ChannelArrays.open(built, small_store.items)
    assert {path.name for path in built.iterdir()} == {*FILES, RECORD}
    np.testing.assert_array_equal(found.hash_W, expected.hash_W)
    for name in ("covisited_II", "text_II", "bm25_WI"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(one.toarray(), other.toarray())
        assert one.nnz or name == "text_II"  # ten words are too frequent to make texts alike
    np.testing.assert_array_equal(found.clicks.found_WI.toarray(), expected.clicks.found_WI.toarray())
    assert found.entries() == expected.entries()


def test_the_result_counts_and_warns_of_what_is_empty(
    tmp_path: Path, small_store: TimelineStore, small_items: ItemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = build_channels(small_store, small_items, tmp_path / "full")
    assert result.items == small_store.items
    assert [name for name, count in result.entries.items() if not count] == ["text"]
    assert result.warnings == ("the log gives nothing to 'text', which stays empty",)
    assert result.bytes == sum((tmp_path / "full" / name).stat().st_size for name in FILES)
    silent = random_world(silent=True, items=small_store.items).sources
    monkeypatch.setattr(ChannelSources, "of", lambda *_: silent)
    empty = build_channels(small_store, small_items, tmp_path / "empty")
    assert set(empty.entries.values()) == {0}
    assert "the log gives nothing to 'clicks', which stays empty" in empty.warnings
    assert set(ChannelArrays.open(tmp_path / "empty", small_store.items).entries().values()) == {0}


@pytest.mark.parametrize("name", ["words.npy", "bm25_starts.npy", "clicks_idf.npy"])
@pytest.mark.parametrize("fault", ["changed", "cut", "absent"])
def test_damaged_files_are_input_errors(folder: Path, small_store: TimelineStore, name: str, fault: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if fault == "absent":
        path.unlink()
    else:
        path.write_bytes(content if fault == "changed" else content[:-3])
    with pytest.raises(InputError, match=r"(checksum|cut short|missing).*run `gensr channels` again") as caught:
        ChannelArrays.open(folder, small_store.items)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.pop("files"),
        lambda record: record["files"].pop(),
        lambda record: record["files"][0].update(name="../../etc/passwd"),
        lambda record: record.update(items="many"),
        lambda record: record.update(items=1),
        lambda record: record.update(word_probe="1"),
    ],
)
def test_edited_records_are_input_errors(folder: Path, small_store: TimelineStore, edit: Callable[[Any], Any]) -> None:
    record = json.loads((folder / RECORD).read_text())
    edit(record)
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="run `gensr channels` again"):
        ChannelArrays.open(folder, small_store.items)


def test_missing_folders_name_the_stage_and_other_catalogues_are_refused(
    tmp_path: Path, built: Path, small_store: TimelineStore
) -> None:
    with pytest.raises(InputError, match="run `gensr channels` first"):
        ChannelArrays.open(tmp_path, small_store.items)
    with pytest.raises(InputError, match=f"made for {small_store.items} items, the shards hold 7"):
        ChannelArrays.open(built, 7)
