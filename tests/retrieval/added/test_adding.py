"""Items that came after training are answered; what is broken, stale or nothing new is said."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.retrieval.added.adding import AddedItems, add_items
from gensr_dist.retrieval.added.opening import RunWithAddedItems, open_with_added
from gensr_dist.retrieval.answer import Answerer, Choice
from gensr_dist.retrieval.item_lists import GivenHistory, read_history, read_items
from gensr_dist.retrieval.many_answers import identity_of
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import index_run, open_ranker
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from tests.retrieval.conftest import CONFIG, ITEMS

# i5 has the text "blue w5 p2": "w5" relates them.
FIRST = "item_id,text\nn0,green w5 zebra\nn1,aardvark quagga\nn2,\n"
SECOND = "item_id,text\nn3,red w40 zebra\nn0,another text\ni5,another text\nn3,again\n"


@pytest.fixture
def copied(run: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(run.root, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def add(run: RunFolder, text: str, name: str = "new.csv") -> AddedItems:
    path = run.root.parent / name
    path.write_text(text)
    return add_items(run, load_config(run.config), path)


def answerer_of(run: RunFolder) -> Answerer:
    config = load_config(run.config)
    return Answerer(open_with_added(run, config), config)


def history(*rows: int) -> GivenHistory:
    return GivenHistory(item_M=np.array(rows), behaviour_M=np.ones(len(rows), dtype=np.int64), unknown=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_new_items_are_found_by_text_and_by_neighbours_and_explained(copied: RunFolder) -> None:
    result = add(copied, FIRST)
    assert (result.rows, result.new, result.known, result.repeated, result.added) == (3, 3, 0, 0, 3)
    assert result.items == ITEMS + 3
    assert result.without_vector == 1  # the one without a text
    lines = result.lines()
    assert lines[0] == "3 new items of 3 rows; answers are chosen from 83 items, 3 of them came after training"
    assert lines[1].startswith("note: 1 new items have a text that says nothing")
    answerer = answerer_of(copied)
    assert answerer.catalogue == ITEMS + 3
    found = {item.item_id: item for item in answerer.search("u3", "aardvark", 83, explain=True).items}
    assert found["n1"].text == "aardvark quagga"
    assert found["n1"].reason is not None
    assert found["n1"].reason.channels["lexical"] == 1
    recommended = {item.item_id: item for item in answerer.recommend(history(5), 83, explain=True).items}
    reason = recommended["n0"].reason
    assert reason is not None
    assert {"text", "neighbours", "lightgcn", "tower"} <= reason.channels.keys()
    assert "covisitation" not in reason.channels
    assert reason.channels["text"] <= 2  # beside i4, which shares "p2"
    assert [seen.item_id for seen in reason.attended] == ["i5"]
    assert len(recommended) == ITEMS + 3 - 1
    assert all(0 < item.score < 1 for item in recommended.values())


def test_new_items_are_named_in_files(copied: RunFolder, tmp_path: Path) -> None:
    add(copied, FIRST)
    answerer = answerer_of(copied)
    (tmp_path / "ids").write_text("n0\ni7\nn2\n")
    given = read_items(tmp_path / "ids", answerer.items.item_ids)
    assert given.item_M.tolist() == [7, 80, 82]
    asked = answerer.recommend("u3", 9, choice=Choice(only=given))
    assert {"n0", "n2"} <= {item.item_id for item in asked.items} <= {"n0", "i7", "n2"}
    left = answerer.recommend(history(5), 82, choice=Choice(exclude=given))
    assert {item.item_id for item in left.items}.isdisjoint({"n0", "i7", "n2"})
    who = read_history(tmp_path / "ids", answerer.items.item_ids)
    assert who.unknown == 0
    after = answerer.recommend(who, 5, explain=True)
    assert not {"n0", "i7", "n2"} & {item.item_id for item in after.items}
    assert {seen.item_id for seen in after.items[0].reason.attended} == {"n0", "i7", "n2"}  # type: ignore[union-attr]


def test_a_new_item_is_scored_as_the_log_s_items_are(copied: RunFolder) -> None:
    """Evidence aside, GenSR gives the log-odds of an item of the log to a new item with its text and its CF vector."""
    trained = TrainedRun.open(copied, load_config(copied.config))
    add(copied, f"item_id,text\nn0,{trained.items.texts[5]}\n")
    config = load_config(copied.config)
    extended = open_with_added(copied, config)
    assert isinstance(extended, RunWithAddedItems)
    np.testing.assert_array_equal(extended.items.title_IT[80], trained.items.title_IT[5])
    assert extended.items.popularity_I[80] == 0
    item_IE = np.array(extended.item_IE)
    item_IE[80] = item_IE[5]
    vectors = dataclasses.replace(extended.collator.vectors, whole_IE=item_IE)
    same = dataclasses.replace(extended, collator=type(extended.collator)(extended.store, extended.items, vectors, 6))
    ranker, requests = open_ranker(same, config), Requests(
        start_G=np.array([0, 3]), item_M=np.array([4, 9, 14]), behaviour_M=np.array([1, 2, 1])
    )  # fmt: skip
    log_odds_GK = ranker.scorer.log_odds(requests, np.array([[5, 80, 6]]))
    assert log_odds_GK[0, 0] == pytest.approx(log_odds_GK[0, 1], abs=1e-5)
    own = trained.collator
    silent = dataclasses.replace(trained, collator=type(own)(own.store, own.items, own.vectors, 6))
    before = open_ranker(silent, config).scorer.log_odds(requests, np.array([[5, 6]]))
    np.testing.assert_allclose(before[0], log_odds_GK[0, [0, 2]], atol=1e-5)


def test_a_new_item_is_told_of_its_words_and_the_log_s_items_of_their_visits(copied: RunFolder) -> None:
    trained = TrainedRun.open(copied, load_config(copied.config))
    add(copied, f"item_id,text\nn0,{trained.items.texts[5]}\n")
    extended = open_with_added(copied, load_config(copied.config))
    before, after = trained.collator.evidence.histories, extended.collator.evidence.histories
    assert before is not None
    assert after is not None
    history_GL, old_GC = np.array([[4, 9, 14, 5]]), np.arange(80)[None]
    np.testing.assert_array_equal(
        after.features(history_GL, old_GC)[..., [0, 1, 2, 6]], before.features(history_GL, old_GC)[..., [0, 1, 2, 6]]
    )
    told_F = after.features(history_GL, np.array([[80]]))[0, 0]
    assert not told_F[[0, 1, 2, 6]].any()
    assert told_F[5] == pytest.approx(1, abs=1e-5), "it has the words of an item of the history"


def test_adding_is_cumulative_and_the_same_file_changes_nothing(copied: RunFolder, tmp_path: Path) -> None:
    add(copied, FIRST)
    second = add(copied, SECOND)
    assert (second.new, second.known, second.repeated, second.added) == (1, 2, 1, 4)
    assert answerer_of(copied).items.item_ids[80:].to_list() == ["n0", "n1", "n2", "n3"]
    assert answerer_of(copied).items.texts[80] == "green w5 zebra"
    apart = contents(copied.added)
    again = add(copied, SECOND)
    assert again.new == 0
    assert again.lines()[0] == "no new item among 4 rows: nothing changes"
    assert contents(copied.added) == apart
    shutil.rmtree(copied.added)
    add(copied, FIRST + SECOND.split("\n", 1)[1])
    assert contents(copied.added) == apart


def test_a_file_of_known_items_makes_nothing(copied: RunFolder) -> None:
    before = contents(copied.root)
    assert add(copied, "item_id,text\ni3,x\ni4,y\n").known == 2
    assert contents(copied.root) == before
    assert type(open_with_added(copied, CONFIG)) is TrainedRun


def test_evaluation_reads_the_catalogue_of_the_log(run: RunFolder, copied: RunFolder) -> None:
    before = contents(copied.root)
    add(copied, FIRST)
    after = contents(copied.root)
    assert {name: after[name] for name in before} == before, "nothing but the folder of added items is written"
    config = load_config(copied.config)
    trained = TrainedRun.open(copied, config)
    rows = trained.store.eval_rows(Split.TEST, Behaviour.SEARCH)
    requests = Requests.of_rows(trained.store, trained.items, rows)
    found, expected = (
        open_ranker(TrainedRun.open(folder, config), config).rank(requests, 80) for folder in (copied, run)
    )
    np.testing.assert_array_equal(found.candidates.item_GK, expected.candidates.item_GK)
    np.testing.assert_array_equal(found.score_GK, expected.score_GK)


def test_parquet_is_read_as_csv_is(copied: RunFolder, tmp_path: Path) -> None:
    add(copied, FIRST)
    expected = contents(copied.added)
    shutil.rmtree(copied.added)
    table = pl.DataFrame({"text": ["green w5 zebra", "aardvark quagga", None], "item_id": ["n0", "n1", "n2"]})
    table.write_parquet(tmp_path / "new.parquet")
    add_items(copied, load_config(copied.config), tmp_path / "new.parquet")
    assert contents(copied.added) == expected


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("new.csv", "item_id,title\nn0,x\n", "missing column text, found item_id, title"),
        ("new.csv", "item_id,text\nn0,x\n,y\n", r"new\.csv:3: .*item_id"),
        ("new.csv", "item_id,text\nn0,x,z\n", r"new\.csv:2: "),
        ("new.csv", "item_id,text\n", "the file has no rows"),
        ("new.txt", "item_id,text\nn0,x\n", r"expected a file of items that ends in \.csv"),
        (
            "new.csv",
            "item_id,text\ncafé,x\ncafe\u0301,y\n",
            r"new\.csv: 1 ids of items are there twice",
        ),
        ("new.csv", None, "the file does not exist; give --add a file with the columns item_id and text"),
    ],
)
def test_bad_files_are_one_line(copied: RunFolder, name: str, text: str | None, fault: str) -> None:
    path = copied.root.parent / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=fault) as caught:
        add_items(copied, CONFIG, path)
    assert "\n" not in str(caught.value)
    assert not copied.added.exists()


@pytest.mark.parametrize("name", ["items.parquet", "cf.npy", "lists/words.npy", "index/tower.faiss", "added.json"])
@pytest.mark.parametrize("fault", ["changed", "absent"])
def test_a_broken_folder_is_said_and_left_out(copied: RunFolder, name: str, fault: str) -> None:
    add(copied, FIRST)
    path = copied.added / name
    content = path.read_bytes()
    path.unlink() if fault == "absent" else path.write_bytes(content[:-5])
    answerer = answerer_of(copied)
    assert answerer.catalogue == ITEMS
    (note,) = answerer.recommend("u3", 2).notes
    assert note.startswith("added items are ignored: ")
    assert name.rsplit("/", 1)[-1] in note
    assert "--add ITEMS" in note
    result = add(copied, SECOND)
    assert result.added == 2
    assert result.lines()[0].startswith("note: items that were added before are discarded: ")
    assert answerer_of(copied).items.item_ids[80:].to_list() == ["n3", "n0"]


def test_items_of_another_index_are_said_and_left_out(copied: RunFolder) -> None:
    add(copied, FIRST)
    record = json.loads((copied.index / "index.json").read_text())
    (copied.index / "index.json").write_text(json.dumps(record, indent=3))
    assert open_with_added(copied, CONFIG).notes == (
        f"added items are ignored: {copied.added / 'added.json'}: its 3 items were added to another index of this run; "
        "add the items again with `gensr index CONFIG --add ITEMS`",
    )


def test_a_new_index_discards_them(copied: RunFolder) -> None:
    add(copied, FIRST)
    config = load_config(copied.config)
    config = dataclasses.replace(config, retrieval=dataclasses.replace(config.retrieval, fit_rows=0))
    result = index_run(TrainedRun.open(copied, config), config)
    assert result.warnings == (
        "3 items that had been added to the earlier index are discarded; add the items again with `gensr index CONFIG "
        "--add ITEMS`",
    )
    assert not copied.added.exists()


def test_parts_of_many_answers_belong_to_what_was_added(copied: RunFolder) -> None:
    config = load_config(copied.config)
    before = identity_of(open_with_added(copied, config), config.retrieval)
    add(copied, FIRST)
    assert identity_of(open_with_added(copied, config), config.retrieval) != before


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_indices_take_them_too(copied: RunFolder, kind: str) -> None:
    config = load_config(copied.config)
    config = dataclasses.replace(config, retrieval=dataclasses.replace(config.retrieval, index=kind))
    path = copied.root.parent / "new.csv"
    path.write_text(FIRST)
    add_items(copied, config, path)
    found = Answerer(open_with_added(copied, config), config).search("u3", "aardvark", 83).items
    assert "n1" in {item.item_id for item in found}
