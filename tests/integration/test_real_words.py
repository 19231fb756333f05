"""A log of real titles whose searches are words of them: GenSR finds what counting and matching of words find."""

import csv
import gzip
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import run_stage
from gensr_dist.stages.stage import PrepareWorkers

ROOT = Path(__file__).parents[2]
BEAUTY = Path(os.environ.get("GENSR_AMAZON_BEAUTY", ROOT.parent / "shared" / "data" / "amazon_beauty"))
EVERY = 4  # one user in so many
LONGEST = 3  # words of a query
SETTINGS = (
    "seed=1",
    "data.source=tables",
    "data.min_interactions=3",
    "lightgcn.folds=5",
    "train.learning_rate=2e-3",
    "train.steps=900",
    "train.newest_rows=0",  # so few rows are soon known by heart
    "train.validate_every=900",
    "train.checkpoint_every=900",
    "train.validate_rows=500",
    "evaluation.catalogue_rows=0",
)


def json_lines(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def write_log(beauty: Path, folder: Path) -> None:
    """Tables of every 4th user: each review once as recommendation and once as a search for words of the title."""
    meta = {item["asin"]: item for item in json_lines(beauty / "meta_Beauty.json.gz")}
    reviews = defaultdict(list)
    for review in json_lines(beauty / "reviews_Beauty_5.json.gz"):
        reviews[review["reviewerID"]].append((review["unixReviewTime"], review["asin"]))
    rng = np.random.default_rng(1)
    met = set()
    folder.mkdir()
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "item_id", "behaviour", "time", "query"])
        for user in sorted(reviews)[::EVERY]:
            for second, item in sorted(reviews[user]):
                met.add(item)
                table.writerow([user, item, "rec", second * 1_000, ""])
                words = re.findall(r"\w+", (meta[item].get("title") or "").lower())
                if words:
                    count = min(len(words), int(rng.integers(1, LONGEST + 1)))
                    query = " ".join(rng.choice(words, count, replace=False))
                    table.writerow([user, item, "src", second * 1_000, query])
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["item_id", "text"])
        for item in sorted(met):
            table.writerow([item, " ".join(filter(None, (meta[item].get("title"), meta[item].get("brand"))))])


def evaluated(folder: Path, *overrides: str) -> dict[str, Any]:
    """`metrics.json` of a run on the log."""
    write_log(BEAUTY, folder / "raw")
    settings = [f"run={folder / 'run'}", f"data.raw={folder / 'raw'}", *SETTINGS, *overrides]
    config = load_config(ROOT / "configs" / "amazon_beauty.yaml", settings)
    for stage in ("prepare", "lightgcn", "channels", "train", "index"):
        run_stage(BY_NAME[stage], config, print, PrepareWorkers())
    return dict(run_stage(BY_NAME["evaluate"], config, print).result)


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.skipif(not BEAUTY.is_dir(), reason=f"needs Amazon Beauty in {BEAUTY} or $GENSR_AMAZON_BEAUTY")
def test_real_words_are_learnt_from_a_few_thousand_users(tmp_path: Path) -> None:
    metrics = evaluated(tmp_path)
    tests = metrics["significance"]["gensr_vs_counting"]
    for task in ("rec", "search"):
        gensr, counting = metrics[task]["ndcg@10"], metrics["baselines"]["counting"][task]["ndcg@10"]
        print(f"{task}: NDCG@10 {gensr:.4f}, counting {counting:.4f}, {tests[task]}")
    assert tests["rec"]["low"] > 0
    assert tests["rec"]["p_value"] < 0.05
    assert tests["search"]["difference"] > -0.02
