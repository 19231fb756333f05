"""The benchmark of the kernels at a size of milliseconds."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gensr_dist.bench import kernels
from gensr_dist.bench.kernels import GroupShape, KernelsBench, bench_kernels, check_csv, kernel_cases
from gensr_dist.errors import InputError

CPU = torch.device("cpu")
SHAPES = (GroupShape(3, 2, 2, 5, 8), GroupShape(2, 9, 2, 3, 8))
COMMITTED = Path(kernels.__file__).parents[1] / "kernels" / "benchmarks.csv"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SAMPLE_S", 1e-4)
    monkeypatch.setattr(kernels, "_COPIED_BYTES", 2**16)


def run(file: Path | None = None) -> KernelsBench:
    return bench_kernels(rounds=2, shapes=SHAPES, csv_file=file)


@pytest.mark.usefixtures("quick")
def test_a_row_for_every_operation_direction_and_shape(tmp_path: Path) -> None:
    file = tmp_path / "kernels.csv"
    result = run(file)
    json.dumps(dataclasses.asdict(result))
    measured = {(row.op, row.beside, row.direction, row.shape) for row in result.rows if row.path == "torch"}
    assert measured == {
        (op, beside, direction, text)
        for direction in ("forward", "backward")
        for shape in SHAPES
        for op, beside, text in (
            ("soft_filter", "unfused", str(shape)),
            ("soft_filter_layer", "a history a group", str(shape)),
            ("soft_filter_layer", "a history a candidate", str(shape)),
            ("rms_norm", "unfused", f"R={shape.G * shape.C * 16} D=8"),
            *([] if torch.cuda.is_available() else [("dropout", "torch's own", f"R={shape.G * shape.C * 16} D=8")]),
        )
    }
    for row in result.rows:
        assert row.seconds > 0
        assert row.gb_per_s > 0
        assert 0 < row.ratio_q1 <= row.ratio_median <= row.ratio_q3
    assert len(result.lines()) == 2 + len(result.rows)
    run(file)
    with file.open() as opened:
        lines = list(csv.DictReader(opened))
    assert len(lines) == 2 * len(result.rows)
    assert lines[0]["op"] == result.rows[0].op
    assert lines[0]["device"] == result.device


def test_runs_without_the_packages_of_training() -> None:
    blocked = dict.fromkeys(("deepspeed", "webdataset", "faiss", "torch_geometric"))
    code = f"import sys; sys.modules.update({blocked}); import gensr_dist.bench.kernels"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("quick")
def test_a_file_of_other_columns_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns"):
        run(file)
    assert file.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("name", ["missing/kernels.csv", "afile/kernels.csv"])
def test_a_file_that_cannot_be_written_is_refused_before_measuring(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "afile").touch()
    monkeypatch.setattr(kernels, "copy_bandwidth", lambda *_: pytest.fail("it measured"))
    with pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / name)


def test_the_committed_file_has_the_columns_of_the_benchmark() -> None:
    check_csv(COMMITTED)
    with COMMITTED.open() as opened:
        measured = {row["op"] for row in csv.DictReader(opened)}
    assert measured >= {"soft_filter", "soft_filter_layer", "rms_norm", "dropout"}


def test_the_bandwidth_counts_what_must_be_moved() -> None:
    shape = GroupShape(3, 2, 4, 5, 8)
    pool, layer, alone, norm, drop = kernel_cases(shape, torch.float32, CPU, "torch")
    assert pool.elements[0] == sum(x.numel() for x in pool.inputs) + pool.fused(*pool.inputs).numel()
    for case in (pool, layer, alone):
        out = case.fused(*case.inputs)
        assert case.elements[0] == sum(x.numel() for x in case.inputs) + out.numel()
        assert case.elements[1] == 2 * sum(x.numel() for x in case.inputs) + out.numel()
    assert norm.elements == (2 * 96 * 8, 3 * 96 * 8)  # weights are next to nothing
    assert drop.elements == (2 * 96 * 8, 2 * 96 * 8)


def test_fused_and_unfused_compute_the_same() -> None:
    device, paths = (torch.device("cuda"), ("torch", "triton")) if torch.cuda.is_available() else (CPU, ("torch",))
    for path in paths:
        for case in kernel_cases(GroupShape(3, 2, 2, 5, 8), torch.float32, device, path):
            fused, unfused = case.fused(*case.inputs), case.unfused(*case.inputs)
            if case.op == "dropout":  # each drops others
                kept = (fused != 0) & (unfused != 0)
                assert kept.float().mean() > 0.5
                fused, unfused = fused[kept], unfused[kept]
            torch.testing.assert_close(fused, unfused, rtol=2e-5, atol=1e-5)
