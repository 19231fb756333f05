"""FAISS indices: exactness, recall of the approximate kinds, round trip, damaged files."""

import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from gensr_dist.errors import InputError
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.faiss_index import RECALL, write_faiss
from gensr_dist.retrieval.index import CatalogueIndex, write_index
from gensr_dist.retrieval.semantic import pool, unit, weighted_tokens

ITEMS, USERS, VOCABULARY = 3_000, 200, 500


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    item_IE = rng.normal(size=(ITEMS, 16)).astype(np.float32)
    item_IE[:7] = 0  # untouched items
    user_VE = rng.normal(size=(USERS, 16)).astype(np.float32)
    title_IT = rng.integers(3, VOCABULARY, (ITEMS, 6)).astype(np.int32)
    title_IT[:, 4:][rng.random((ITEMS, 2)) < 0.5] = 0
    title_IT[10] = 0  # an item without text
    token_VD = rng.normal(size=(VOCABULARY, 24)).astype(np.float32)
    return item_IE, user_VE, title_IT, token_VD


def write(folder, arrays, kind="flat", candidates=50):
    sources = ChannelSources.silent(ITEMS)
    return write_index(folder, *arrays, sources, RetrievalConfig(index=kind, candidates=candidates), seed=1)


def test_flat_equals_brute_force(tmp_path, arrays):
    item_IE, user_VE, title_IT, token_VD = arrays
    result = write(tmp_path / "index", arrays)
    index = CatalogueIndex.open(tmp_path / "index")
    assert (result.cf.items, result.semantic.items, result.items) == (ITEMS - 7, ITEMS - 1, ITEMS)
    assert result.entries == dict.fromkeys(("covisitation", "text", "bm25", "clicks"), 0)
    assert "the log gives nothing to the channel 'clicks', which stays empty" in result.warnings
    assert result.cf.recall == result.semantic.recall == 1

    found = index.nearest_cf(user_VE, 30)
    expected = 7 + np.argsort(-(user_VE @ item_IE[7:].T), axis=1)[:, :30]
    assert (found == expected).mean() > 0.999  # float32 near ties may swap
    np.testing.assert_array_equal(np.sort(found[:5]), np.sort(expected[:5]))

    texts = pool(title_IT, weighted_tokens(token_VD, title_IT))
    found = index.nearest_text(title_IT[100:120], 10)
    np.testing.assert_array_equal(found[:, 0], np.arange(100, 120))
    expected = np.argsort(-(texts[100:120] @ texts.T), axis=1)[:, :10]
    assert (found == expected).mean() > 0.98


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_kinds_find_the_true_neighbours_after_reopening(tmp_path, arrays, kind):
    item_IE, user_VE, *_ = arrays
    result = write(tmp_path / "index", arrays, kind)
    index = CatalogueIndex.open(tmp_path / "index")
    true_RK = 7 + np.argsort(-(user_VE @ item_IE[7:].T), axis=1)[:, :50]
    found_RK = index.nearest_cf(user_VE, 50)
    recall = np.mean([len(set(found) & set(true)) / 50 for found, true in zip(found_RK, true_RK, strict=True)])
    assert recall >= 0.9
    assert result.cf.recall >= RECALL
    assert result.cf.recall == pytest.approx(recall, abs=0.05)
    assert result.cf.effort >= 1
    assert type(index.faiss["cf"]).__name__ == {"ivf": "IndexIVFFlat", "hnsw": "IndexHNSWFlat"}[kind]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_tiny_and_empty_catalogues(tmp_path, kind):
    item_IE = np.eye(3, 4, dtype=np.float32)
    title_IT = np.zeros((3, 5), dtype=np.int32)  # no item has text
    token_VD, sources = np.ones((9, 4), np.float32), ChannelSources.silent(3)
    write_index(tmp_path / "index", item_IE, item_IE, title_IT, token_VD, sources, RetrievalConfig(index=kind), 0)
    index = CatalogueIndex.open(tmp_path / "index")
    found = index.nearest_cf(np.concatenate([item_IE, np.zeros((1, 4), np.float32)]), 5)
    np.testing.assert_array_equal(found[:3, 0], [0, 1, 2])
    assert (found[:3, 3:] == -1).all()
    assert (found[3] == -1).all()
    assert (index.nearest_text(np.array([[3, 4]]), 2) == -1).all()


def test_same_seed_same_files(tmp_path, arrays):
    for name in ("a", "b"):
        write(tmp_path / name, arrays, "ivf")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("name", ["cf.faiss", "semantic.faiss", "cf_items.npy", "token_weights.npy", "bm25_starts.npy"])
@pytest.mark.parametrize("fault", ["changed", "cut", "absent"])
def test_damaged_files_are_input_errors_before_they_are_parsed(tmp_path, arrays, name, fault):
    write(tmp_path / "index", arrays)
    path = tmp_path / "index" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if fault == "absent":
        path.unlink()
    else:
        path.write_bytes(content if fault == "changed" else content[:-3])
    with pytest.raises(InputError, match=r"checksum|does not exist") as caught:
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
        lambda record: record.update(word_probe="1"),
        lambda record: record["views"]["cf"].update(width=3),
    ],
)
def test_edited_records_are_input_errors(tmp_path, arrays, edit):
    write(tmp_path / "index", arrays)
    path = tmp_path / "index" / "index.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="gensr index"):
        CatalogueIndex.open(tmp_path / "index")


def test_missing_folder_names_the_stage(tmp_path):
    with pytest.raises(InputError, match="run `gensr index` first"):
        CatalogueIndex.open(tmp_path)


def test_a_file_that_is_no_index_is_an_input_error(tmp_path):
    from gensr_dist.retrieval.faiss_index import read_faiss

    (tmp_path / "x.faiss").write_bytes(b"IxFx" + b"\0" * 7)
    with pytest.raises(InputError, match="expected a FAISS index") as caught:
        read_faiss(tmp_path / "x.faiss", "run again")
    assert "\n" not in str(caught.value)


def test_semantic_vectors_equal_the_formula():
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


def test_an_index_that_cannot_be_written_is_one_line():
    flat = faiss.IndexFlatIP(64)
    flat.add(np.zeros((2_000, 64), dtype=np.float32))  # more than a buffer of the C library
    with pytest.raises(InputError, match=r"/dev/full: the index cannot be written \(.*No space left"):
        write_faiss(flat, Path("/dev/full"))
