"""FAISS indices: exactness, recall of the approximate kinds, round trip, damaged files; vectors of the item tower."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import pytest
import torch

from gensr_dist.errors import InputError
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval import index as module
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.faiss_index import RECALL, read_faiss, write_faiss
from gensr_dist.retrieval.index import CatalogueIndex, IndexResult, tower_vectors, write_index
from gensr_dist.retrieval.semantic import pool, unit, weighted_tokens
from gensr_dist.runs.trained_run import TrainedRun
from tests.retrieval.conftest import CONFIG

ITEMS, QUERIES, VOCABULARY = 3_000, 200, 500

Kind = Literal["flat", "ivf", "hnsw"]
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    rng = np.random.default_rng(0)
    item_IE = rng.normal(size=(ITEMS, 16)).astype(np.float32)
    item_IE[:7] = 0  # untouched items
    title_IT = rng.integers(3, VOCABULARY, (ITEMS, 6)).astype(np.int32)
    title_IT[:, 4:][rng.random((ITEMS, 2)) < 0.5] = 0
    title_IT[10] = 0  # an item without text
    return {
        "item_IE": item_IE,
        "item_IH": rng.normal(size=(ITEMS, 12)).astype(np.float32),
        "title_IT": title_IT,
        "token_VD": rng.normal(size=(VOCABULARY, 24)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def query_RE() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(QUERIES, 16)).astype(np.float32)


def write(folder: Path, arrays: Arrays, kind: Kind = "flat", candidates: int = 50) -> IndexResult:
    folder.mkdir(exist_ok=True)
    return write_index(folder, **arrays, config=RetrievalConfig(index=kind, candidates=candidates), seed=1)


def test_flat_equals_brute_force(tmp_path: Path, arrays: Arrays, query_RE: np.ndarray) -> None:
    result = write(tmp_path / "index", arrays)
    index = CatalogueIndex.open(tmp_path / "index")
    assert index.items == result.items == ITEMS
    assert {name: (view.items, view.width) for name, view in result.views.items()} == {
        "cf": (ITEMS - 7, 16),
        "semantic": (ITEMS - 1, 24),
        "tower": (ITEMS, 12),
    }
    assert {(view.recall, view.search_width) for view in result.views.values()} == {(1, 0)}

    found = index.views["cf"].search(query_RE, 30).item_GK
    expected = 7 + np.argsort(-(query_RE @ arrays["item_IE"][7:].T), axis=1)[:, :30]
    assert (found == expected).mean() > 0.999  # float32 near ties may swap

    texts = pool(arrays["title_IT"], index.weighted_VD)
    np.testing.assert_array_equal(index.weighted_VD, weighted_tokens(arrays["token_VD"], arrays["title_IT"]))
    found = index.views["semantic"].search(texts[100:120], 10).item_GK
    np.testing.assert_array_equal(found[:, 0], np.arange(100, 120))
    expected = np.argsort(-(texts[100:120] @ texts.T), axis=1)[:, :10]
    assert (found == expected).mean() > 0.98

    np.testing.assert_array_equal(index.item_IH, arrays["item_IH"])
    found = index.views["tower"].search(arrays["item_IH"][:20], 5).item_GK
    assert (found == np.argsort(-(arrays["item_IH"][:20] @ arrays["item_IH"].T), axis=1)[:, :5]).mean() > 0.98


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_kinds_find_the_true_neighbours_after_reopening(
    tmp_path: Path, arrays: Arrays, query_RE: np.ndarray, kind: Kind
) -> None:
    """Trial queries are items' own vectors: other queries of their kind are found about as well."""
    result = write(tmp_path / "index", arrays, kind).views["cf"]
    index = CatalogueIndex.open(tmp_path / "index").views["cf"]
    item_IE = arrays["item_IE"]
    true_RK = 7 + np.argsort(-(query_RE @ item_IE[7:].T), axis=1)[:, :50]
    found_RK = index.search(query_RE, 50).item_GK
    recall = np.mean([len(set(found) & set(true)) / 50 for found, true in zip(found_RK, true_RK, strict=True)])
    assert recall >= 0.9
    assert result.recall >= RECALL
    assert result.recall == pytest.approx(recall, abs=0.06)
    assert result.search_width >= 1
    assert type(index.faiss).__name__ == {"ivf": "IndexIVFFlat", "hnsw": "IndexHNSWFlat"}[kind]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
@pytest.mark.parametrize("width", [0, 4])
def test_tiny_and_empty_catalogues(tmp_path: Path, kind: Kind, width: int) -> None:
    item_IE = np.eye(3, 4, dtype=np.float32)
    arrays = {
        "item_IE": item_IE,
        "item_IH": np.zeros((3, width), dtype=np.float32),  # no towers
        "title_IT": np.zeros((3, 5), dtype=np.int32),  # no item has text
        "token_VD": np.ones((9, 4), np.float32),
    }
    result = write(tmp_path / "index", arrays, kind)
    index = CatalogueIndex.open(tmp_path / "index")
    found = index.views["cf"].search(np.concatenate([item_IE, np.zeros((1, 4), np.float32)]), 5).item_GK
    np.testing.assert_array_equal(found[:3, 0], [0, 1, 2])
    assert (found[:3, 3:] == -1).all()
    assert (found[3] == -1).all()
    assert [result.views[name].items for name in ("semantic", "tower")] == [0, 0]
    assert (index.views["semantic"].search(np.ones((1, 4), np.float32), 2).item_GK == -1).all()
    assert index.item_IH.shape == (3, width)


@pytest.mark.parametrize("block", [7, 65_536])
def test_vectors_of_the_tower_are_the_models(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "_ITEMS", block)
    item_IH = tower_vectors(trained.model, trained.item_IE, trained.items.title_IT)
    candidate_1I = np.arange(trained.store.items)[None]
    nothing, token_1Q = np.full((1, 6), -1), np.zeros((1, 4), dtype=np.int64)
    batch = trained.collator.query(nothing, np.zeros_like(nothing), np.array([0]), token_1Q, candidate_1I, texts=())
    with torch.inference_mode():
        match = trained.model(trained.model.inputs(batch).to(trained.device), "answers").match
    assert match is not None
    np.testing.assert_allclose(item_IH, match.item_GCH[0].cpu().numpy(), atol=1e-5)


def test_a_model_without_towers_has_no_vectors(trained: TrainedRun) -> None:
    model = GenSR.build(replace(CONFIG.model, match=False), trained.items.tokenizer, trained.item_IE.shape[1])
    assert tower_vectors(model, trained.item_IE, trained.items.title_IT).shape == (trained.store.items, 0)


def test_same_seed_same_files(tmp_path: Path, arrays: Arrays) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, arrays, "ivf")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("name", ["cf.faiss", "tower.faiss", "semantic_items.npy", "token_weights.npy", "tower.npy"])
@pytest.mark.parametrize("fault", ["changed", "cut", "absent"])
def test_damaged_files_are_input_errors_before_they_are_parsed(
    tmp_path: Path, arrays: Arrays, name: str, fault: str
) -> None:
    write(tmp_path / "index", arrays)
    path = tmp_path / "index" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if fault == "absent":
        path.unlink()
    else:
        path.write_bytes(content if fault == "changed" else content[:-3])
    with pytest.raises(InputError, match=r"checksum|cut short|missing") as caught:
        CatalogueIndex.open(tmp_path / "index")
    assert name in str(caught.value)
    assert "gensr index" in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.pop("files"),
        lambda record: record["files"].pop(),
        lambda record: record["files"][0].update(name="../../etc/passwd"),
        lambda record: record.update(views=3),
        lambda record: record["views"].pop("tower"),
        lambda record: record["views"]["cf"].update(width=3),
    ],
)
def test_edited_records_are_input_errors(tmp_path: Path, arrays: Arrays, edit: Callable[[Any], Any]) -> None:
    write(tmp_path / "index", arrays)
    path = tmp_path / "index" / "index.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="gensr index"):
        CatalogueIndex.open(tmp_path / "index")


def test_missing_folder_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `gensr index` first"):
        CatalogueIndex.open(tmp_path)


def test_a_file_that_is_no_index_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "x.faiss").write_bytes(b"IxFx" + b"\0" * 7)
    with pytest.raises(InputError, match="expected a FAISS index") as caught:
        read_faiss(tmp_path / "x.faiss", "run again")
    assert "\n" not in str(caught.value)


def test_semantic_vectors_equal_the_formula() -> None:
    title_IT = np.array([[3, 4, 4], [3, 5, 0], [3, 2, 0], [0, 0, 0]], dtype=np.int32)
    token_VD = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    weighted_VD = weighted_tokens(token_VD, title_IT)
    idf = {3: np.log(5 / 4), 4: np.log(5 / 2), 5: np.log(5 / 2)}
    direction = {t: token_VD[t].astype(np.float64) / np.linalg.norm(token_VD[t]) for t in idf}
    expected = np.stack(
        [
            idf[3] * direction[3] + 2 * idf[4] * direction[4],
            idf[3] * direction[3] + idf[5] * direction[5],
            idf[3] * direction[3],
            np.zeros(3),
        ]
    )
    expected[:3] /= np.linalg.norm(expected[:3], axis=1, keepdims=True)
    np.testing.assert_allclose(pool(title_IT, weighted_VD), expected, atol=1e-6)
    assert not weighted_VD[[0, 2]].any()
    np.testing.assert_array_equal(unit(np.zeros((2, 3), np.float32)), 0)


def test_an_index_that_cannot_be_written_is_one_line() -> None:
    flat = faiss.IndexFlatIP(64)
    flat.add(np.zeros((2_000, 64), dtype=np.float32))  # more than a buffer of the C library
    with pytest.raises(InputError, match=r"/dev/full: the index cannot be written \(.*No space left"):
        write_faiss(flat, Path("/dev/full"))
