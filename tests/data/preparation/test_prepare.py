import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour, EventLog, Repair
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import SeenPairs
from gensr_dist.data.preparation import item_store
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_same_input_same_bytes(
    prepared: Path, tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig
) -> None:
    prepare(LocalEngine(make_log()), replace(small_config, raw="elsewhere/.."), 7, Folder.at(tmp_path / "again"))
    again = digests(tmp_path / "again")
    first = digests(prepared)
    assert {name for name in first if first[name] != again.get(name)} <= {"manifest.json"}
    prepare(LocalEngine(make_log()), small_config, 7, Folder.at(tmp_path / "again"))
    assert digests(tmp_path / "again") == first
    prepare(LocalEngine(make_log()), small_config, 8, Folder.at(tmp_path / "again"))
    changed = {name for name, digest in digests(tmp_path / "again").items() if digest != first[name]}
    assert changed == {"manifest.json", *(f"shard-{n:05d}.tar" for n in range(4))}


def test_result_counts(tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig) -> None:
    log = make_log()
    texts = log.items["text"].to_list()
    texts[3] = "  "
    log = replace(log, items=log.items.with_columns(text=pl.Series(texts)), repairs=(Repair("fixed", 2),))
    result = prepare(LocalEngine(log), small_config, 0, Folder.at(tmp_path / "shards"))
    store, items = TimelineStore.open(Folder.at(tmp_path / "shards")), ItemStore.open(Folder.at(tmp_path / "shards"))
    assert result.repairs == (Repair("fixed", 2), Repair("items without text: their title is all padding", 1))
    assert not items.title_IT[3].any()
    assert (items.title_IT[np.arange(result.items) != 3, 0] > 0).all()
    for task, counts in ((Behaviour.RECOMMENDATION, result.recommendation), (Behaviour.SEARCH, result.search)):
        of_task = log.events.filter((pl.col("behaviour") == task) & pl.col("positive"))
        assert counts.train + counts.valid + counts.test == of_task.height
        assert len(store.eval_rows(Split.VALID, task)) == counts.valid
        assert len(store.eval_rows(Split.TEST, task)) == counts.test
    assert len(training_rows(store.window(0).timelines)) == result.recommendation.train + result.search.train
    tars = sum(path.stat().st_size for path in (tmp_path / "shards").glob("*.tar"))
    assert result.bytes_per_event == tars / result.events
    assert (store.users, store.items, result.queries) == (result.users, result.items, len(items.queries))
    assert result.vocabulary == len(items.tokenizer)


def test_evaluation_rows(prepared: Path) -> None:
    store = TimelineStore.open(Folder.at(prepared))
    timelines = store.window(0).timelines
    seen = SeenPairs.from_timelines(timelines, store.items)
    for split in (Split.VALID, Split.TEST):
        for task in Behaviour:
            rows = store.eval_rows(split, task)
            assert len(rows) > 20
            assert rows.candidate_RC.shape == (len(rows), 5)
            assert np.array_equal(rows.candidate_RC[:, 0], timelines.item_N[rows.event_R])
            assert not seen.contains(rows.user_R[:, None], rows.candidate_RC[:, 1:]).any()
            assert all(len(set(candidates)) == 5 for candidates in rows.candidate_RC.tolist())
            assert np.array_equal(rows.user_R, timelines.user_N[rows.event_R])
            assert timelines.positive_N[rows.event_R].all()
            assert (timelines.split_N[rows.event_R] == split).all()
            assert (rows.task_R == task).all()
            assert ((rows.query_R >= 0) == (task == Behaviour.SEARCH)).all()
            part = rows.take(np.array([4, 1]))
            assert part.event_R.tolist() == [rows.event_R[4], rows.event_R[1]]
            assert np.array_equal(part.candidate_RC, rows.candidate_RC[[4, 1]])


def test_item_store_looks_up_raw_ids(prepared: Path) -> None:
    items = ItemStore.open(Folder.at(prepared))
    row = items.item_ids.to_list().index("i7")
    assert items.texts[row] == "kind 0 w7"
    assert items.user_row("u3") == items.users.to_list().index("u3")
    words = items.tokenizer.fast.decode(items.title_IT[row], skip_special_tokens=True)
    assert words == "kind 0 w7"
    with pytest.raises(InputError, match="user 'nope': no such user among the 40 prepared ones"):
        items.user_row("nope")
    with pytest.raises(ValueError, match="read-only"):
        items.title_IT[0, 0] = 1


def test_one_behaviour_only(tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig) -> None:
    log = make_log()
    log = replace(log, events=log.events.filter(pl.col("behaviour") == Behaviour.RECOMMENDATION))
    prepare(LocalEngine(log), replace(small_config, both_behaviours=False), 0, Folder.at(tmp_path / "shards"))
    store, items = TimelineStore.open(Folder.at(tmp_path / "shards")), ItemStore.open(Folder.at(tmp_path / "shards"))
    assert items.query_QT.shape == (0, small_config.query_tokens)
    assert len(store.eval_rows(Split.TEST, Behaviour.SEARCH)) == 0
    assert len(store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_interactions": 1_000}, r"data\.min_interactions: no user of 40 is left"),
        ({"eval_negatives": 60}, "fewer than the 60 negatives asked for"),
        (
            {"train_negatives": 60},
            r"a user has seen \d+ of 60 items in the training split, .* fewer than the 60 negatives",
        ),
        ({"tokenizer": "no/such/folder"}, "no/such/folder: expected a tokenizer folder"),
    ],
)
def test_a_failed_run_leaves_nothing(
    tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig, change: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(LocalEngine(make_log()), replace(small_config, **change), 0, Folder.at(tmp_path / "shards"))
    assert list(tmp_path.iterdir()) == []


def test_empty_split(tmp_path: Path, make_rows_log: Callable[..., EventLog], small_config: DataConfig) -> None:
    rows = [(item % 2, item, item // 2 % 2, 5, 0 if item // 2 % 2 else -1, True) for item in range(16)]
    config = replace(small_config, split="time", min_interactions=1)
    with pytest.raises(InputError, match=r"data\.split: split 'time' leaves no positive event of either task to train"):
        prepare(LocalEngine(make_rows_log(rows, 2, 20)), config, 0, Folder.at(tmp_path / "shards"))


@pytest.mark.parametrize("name", ["thesis.txt", "items/old/notes.txt", "shard-00000.tar.part", "photos.tar"])
def test_files_of_others_are_not_deleted(
    prepared: Path, tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig, name: str
) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "shards"))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("precious")
    before = digests(folder)
    with pytest.raises(InputError, match=rf"shards: the folder holds files that are no part of shards \(1, .*{name}"):
        prepare(LocalEngine(make_log()), small_config, 7, Folder.at(folder))
    assert digests(folder) == before
    with pytest.raises(InputError, match="expected a folder, found a file"):
        prepare(LocalEngine(make_log()), small_config, 7, Folder.at(folder / "manifest.json"))
    assert digests(folder) == before
    assert names_in(tmp_path) == ["shards"]


@pytest.mark.parametrize("name", ["photos.tar", "shard-00000.tar", "items/text.npy"])
def test_files_without_a_manifest_are_those_of_others(
    tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig, name: str
) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(InputError, match=rf"holds files and no manifest\.json of shards \(1, .*{name}'\); give an"):
        prepare(LocalEngine(make_log()), small_config, 7, Folder.at(tmp_path / "data"))
    assert path.read_text() == "precious"


def test_a_folder_behind_a_link_is_replaced_where_it_lies(
    prepared: Path, tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig
) -> None:
    disk = tmp_path / "disk"
    shutil.copytree(prepared, disk / "real")
    (disk / "real" / "shard-00009.tar").write_bytes(b"left over")
    (tmp_path / "shards").symlink_to(disk / "real")
    prepare(LocalEngine(make_log()), small_config, 7, Folder.at(tmp_path / "shards"))
    assert (tmp_path / "shards").is_symlink()
    assert digests(disk / "real") == digests(prepared)
    assert (names_in(tmp_path), names_in(disk)) == (["disk", "shards"], ["real"])


def test_a_full_disk_is_no_signal(
    tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(tokenizer: object, texts: object, table_IT: np.memmap) -> None:
        status = Path(str(table_IT.filename)).stat()
        assert status.st_blocks * 512 >= status.st_size > 4_096, "writing to the map may find no room"

    monkeypatch.setattr(item_store, "fill_token_table", fill)
    log = make_log(items=500, events=9_000)
    prepare(LocalEngine(log), replace(small_config, query_tokens=400), 0, Folder.at(tmp_path / "shards"))
