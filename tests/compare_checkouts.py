"""Whether two checkouts do the same: bytes of shards, losses of training, weights, metrics.

    OMP_NUM_THREADS=1 python tests/compare_checkouts.py OLD NEW [--beauty FOLDER]

OLD and NEW are folders that hold `gensr_dist/` and `configs/`. Each checkout does the same commands in a temporary
folder, with the Python that runs this: `gensr prepare` of the quickstart, of the preset `small` and, with --beauty, of
Amazon Beauty; 60 training steps of the quickstart; a short whole run. What must be equal: every file of the shards to
the byte, losses to 1e-6, weights and metrics as numbers to 1e-6. Exit code 1 names what is not.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TOLERANCE = 1e-6
SHORT = (
    *(
        "simulate.users=150",
        "simulate.items=300",
        "data.eval_negatives=20",
        "lightgcn.epochs=5",
        "train.steps=60",
        "train.validate_every=30",
    ),
    *("train.warmup_steps=10", "train.checkpoint_every=30", "train.log_every=1", "retrieval.fit_rows=150"),
)
UNTIMED = ("seconds", "candidates_per_second")


def gensr(checkout: Path, *arguments: str) -> None:
    """A command of a checkout, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gensr_dist", *arguments]
    subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)


def settings(*pairs: str) -> tuple[str, ...]:
    return tuple(word for pair in pairs for word in ("--set", pair))


def prepare(checkout: Path, work: Path, beauty: Path | None) -> None:
    """Shards of three logs."""
    quick = ("configs/quickstart.yaml", *settings(f"run={work / 'quickstart'}"))
    small = ("--preset", "small", *settings(f"run={work / 'small'}"))
    for log in (quick, small):
        gensr(checkout, "simulate", *log)
        gensr(checkout, "prepare", "simulate", *log)
    if beauty is not None:
        run = settings(f"run={work / 'beauty'}", f"data.raw={beauty}")
        gensr(checkout, "prepare", "amazon", "configs/amazon_beauty.yaml", *run)


def train(checkout: Path, work: Path) -> None:
    """The first steps of the quickstart, on its own shards."""
    steps = ("train.steps=60", "train.log_every=1", "train.validate_every=60")
    quick = ("configs/quickstart.yaml", *settings(f"run={work / 'quickstart'}", "lightgcn.epochs=10", *steps))
    for stage in ("lightgcn", "channels", "train"):
        gensr(checkout, stage, *quick)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def curves(run: Path) -> dict[tuple[str, int], float]:
    """Losses by name and step."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag in ("loss/total", "loss/task", "loss/match")]
    return {(tag, point.step): point.value for tag in tags for point in events.Scalars(tag)}


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a JSON value by its path, times left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in UNTIMED:
                yield from numbers(inner, f"{name}/{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from numbers(inner, f"{name}/{place}")
    elif isinstance(value, int | float):
        yield name, float(value)


def differences(what: str, pair: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Lines about keys that are in one alone or have other values."""
    old, new = pair
    lines = [f"{what}: {key} is only in {'OLD' if key in old else 'NEW'}" for key in sorted(set(old) ^ set(new))]
    for key in sorted(set(old) & set(new)):
        if isinstance(old[key], str):
            same = old[key] == new[key]
        else:
            same = bool(np.allclose(old[key], new[key], rtol=0, atol=TOLERANCE))
        if not same:
            lines.append(f"{what}: {key} differs")
    return lines


def compare(old: Path, new: Path, beauty: Path | None, work: Path) -> list[str]:
    """What is not the same, a line each."""
    found: list[str] = []
    places = {"OLD": (old, work / "old"), "NEW": (new, work / "new")}
    for checkout, place in places.values():
        prepare(checkout, place, beauty)
        train(checkout, place)
        gensr(checkout, "run", "configs/quickstart.yaml", *settings(f"run={place / 'whole'}", *SHORT))
    first, second = (place for _, place in places.values())
    for log in sorted(path.name for path in first.iterdir()):
        shards = [digests(place / log / "shards") for place in (first, second)]
        found += differences(f"shards of {log}", shards)
        print(f"{log}: {len(shards[0])} files of shards", flush=True)
    for run in ("quickstart", "whole"):
        losses = [curves(place / run) for place in (first, second)]
        found += differences(f"losses of {run}", losses)
        weights = [load_file(next((place / run / "model").glob("*.safetensors"))) for place in (first, second)]
        found += differences(f"weights of {run}", weights)
        print(f"{run}: {len(losses[0])} losses, {len(weights[0])} weights", flush=True)
    metrics = [
        dict(numbers(json.loads((place / "whole" / "metrics.json").read_text("utf-8")))) for place in (first, second)
    ]
    found += differences("metrics", metrics)
    print(f"whole: {len(metrics[0])} numbers in metrics.json", flush=True)
    return found


def main() -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="OLD", type=Path)
    parser.add_argument("new", metavar="NEW", type=Path)
    parser.add_argument("--beauty", metavar="FOLDER", type=Path, help="reviews_Beauty_5.json.gz, meta_Beauty.json.gz")
    options = parser.parse_args()
    beauty = options.beauty.resolve() if options.beauty else None
    with tempfile.TemporaryDirectory() as work:
        found = compare(options.old.resolve(), options.new.resolve(), beauty, Path(work))
    print("\n".join(found) if found else "the two checkouts do the same")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
