"""TensorBoard opens a run: its HTTP interface has the points, a headless browser shows their tags."""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.bench.ports import free_port
from gensr_dist.config.root import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.model.config import ModelConfig
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.loop import train
from tests.browser import BROWSER

SHOWN = ("loss/task", "loss/contrastive", "optimizer/learning_rate", "speed/candidates_per_second")
VALIDATED = ("validation_rec/ndcg@10", "validation_search/ndcg@10")
BESIDE = ("training_rec/ndcg@10", "training_search/loss", "gap/rec_ndcg@10", "gap/search_loss")


@pytest.fixture
def board(small_run: RunFolder) -> Iterator[str]:
    """Address of a TensorBoard that shows a short training run."""
    train(
        Config(
            data=DataConfig(history=4, train_negatives=2),
            model=ModelConfig(cf_heads=2, semantic_history="pooled"),
            train=TrainConfig(steps=3, batch=8, validate_every=3, validate_rows=4, log_every=1, workers=0),
        ),
        small_run,
    )
    with serving(small_run.tensorboard) as address:
        yield address


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    with (folder.parent / "tensorboard.log").open("w") as log:
        server = subprocess.Popen([*command, "--port", str(port), "--load_fast", "false"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def get(address: str, seconds: float = 120) -> Any:
    """JSON from TensorBoard, once it is up and has read the events."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # an address of this machine
                found = json.load(answer)
            if found:
                return found
        except OSError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, f"{address} stays empty"
        time.sleep(0.5)


def test_http_interface_has_points_text_hparams_and_projector(board: str) -> None:
    tags = get(f"{board}/data/plugin/scalars/tags")["."]
    assert {*SHOWN, *VALIDATED, *BESIDE} <= tags.keys()
    for tag in SHOWN:
        query = urllib.parse.urlencode({"tag": tag, "run": "."})
        points = get(f"{board}/data/plugin/scalars/scalars?{query}")
        assert [step for _, step, _ in points] == [1, 2, 3], tag
    assert any("config" in tag for tag in get(f"{board}/data/plugin/text/tags")["."])
    assert get(f"{board}/data/plugins_listing")["hparams"]["enabled"]
    projected = get(f"{board}/data/plugin/projector/info?run=.")["embeddings"]
    assert {"items_cf", "items_semantic"} == {entry["tensorName"].split(":")[0] for entry in projected}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_scalars(board: str, tmp_path: Path) -> None:
    get(f"{board}/data/plugin/scalars/tags")
    wanted = urllib.parse.quote("|".join(SHOWN + VALIDATED), safe="")  # unfiltered, most groups stay folded
    page = ""
    for attempt in range(5):  # the browser's clock runs ahead of a busy machine
        page = rendered(f"{board}/?tagFilter={wanted}#timeseries", tmp_path / f"browser{attempt}")
        if all(tag in page for tag in SHOWN + VALIDATED):
            return
    assert [tag for tag in SHOWN + VALIDATED if tag not in page] == []


def rendered(address: str, profile: Path) -> str:
    """The page as HTML after its scripts ran."""
    switches = (
        "headless no-sandbox disable-gpu disable-dev-shm-usage disable-quic disable-sync disable-background-networking "
        "disable-component-update no-first-run dump-dom window-size=1600,3000 virtual-time-budget=60000"
    )
    return subprocess.run(
        [str(BROWSER), *(f"--{switch}" for switch in switches.split()), f"--user-data-dir={profile}", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
