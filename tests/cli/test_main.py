import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from gensr_dist.__main__ import start
from gensr_dist.cli.main import main
from gensr_dist.config.root import Config, load_config

COMMANDS = (
    "simulate prepare lightgcn train index evaluate check run recommend search compare verify config".split()  # noqa: SIM905
)
ROOT = Path(__file__).parents[2]


def gensr(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gensr_dist", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def test_an_interrupt_before_anything_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "gensr_dist.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "gensr_dist.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupting, *sys.meta_path])
    assert start() == 130
    assert capsys.readouterr().err == "gensr: error: interrupted; nothing was begun\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_enough_to_use_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"example:\n  gensr {command} " in text
    assert "--json" in text


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {command}" in text for command in COMMANDS)


def test_config_prints_every_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {steps: 300}\n")
    assert main(["config", str(path), "--set", "seed=4", "--set", "train.clip=2"]) == 0
    printed = capfd.readouterr().out
    (tmp_path / "again.yaml").write_text(printed)
    again = load_config(tmp_path / "again.yaml")
    assert (again.run, again.seed, again.train.steps, again.train.clip) == ("runs/mine", 4, 300, 2.0)
    assert main(["config", str(path), "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["train"]["steps"] == 300
    assert "steps: 300" in captured.err


def test_check_says_what_it_understood_then_the_error_of_prepare(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [f"u{n % 3},i{n % 4},rec,{1_700_000_000_000 + n * 40_000_000}" for n in range(20)]
    (raw / "items.csv").write_text("item_id,text\n" + "".join(f"i{n},Hat {n}\n" for n in range(4)))
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"run: {tmp_path / 'run'}\n"
        f"data: {{source: tables, raw: {raw}, both_behaviours: false, min_interactions: 1, split: time,"
        " valid_share: 0.2, test_share: 0.2, eval_negatives: 1}\n"
    )
    (raw / "events.csv").write_text("\n".join(["user_id,item_id,behaviour,time", *rows[:15], "u1,i1,rec,17", ""]))
    assert main(["check", str(config)]) == 2
    captured = capfd.readouterr()
    assert "events.csv: " in captured.out
    assert "15 rows understood" in captured.out
    error = captured.err.splitlines()[-1]
    assert error.startswith(f"gensr: error: {raw}/events.csv:17: time is '17', expected milliseconds")
    assert main(["prepare", "tables", str(config)]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == error
    assert main(["check", str(config), "--json"]) == 2
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert f"gensr: error: {report['refusal']}" == error
    assert report["files"][0]["rows"] == 15
    assert captured.err.splitlines()[-1] == error
    assert not (tmp_path / "run" / "shards").exists()


def test_check_of_a_good_log_exits_0(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--preset", "tiny", "--set", f"run={tmp_path}"]) == 0
    capfd.readouterr()
    assert main(["check", "--preset", "tiny", "--set", f"run={tmp_path}", "--full", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["refusal"] is None
    assert [file["file"] for file in report["files"]][:2] == ["rec_inter.csv", "src_inter.csv"]


def test_check_starts_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from gensr_dist.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'ray'} & set(sys.modules); sys.exit(code or bool(heavy))"
    )
    assert main(["simulate", "--preset", "tiny", "--set", f"run={tmp_path}"]) == 0
    command = [sys.executable, "-c", program, "check", "--preset", "tiny", "--set", f"run={tmp_path}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_shipped_configs_are_valid(name: str) -> None:
    config = load_config(ROOT / "configs" / name)
    assert config != Config()
    assert config.run == f"runs/{Path(name).stem}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["config", "none.yaml"], "none.yaml: cannot read the config (No such file or directory); give the path"),
        (["config", "x.yaml", "--set", "train.lr=1"], "did you mean 'train.learning_rate'"),
        (["config", "x.yaml", "--set", "data.vocabulary=10000000000"], "integer >= 300 and <= 1000000"),
        (["config", "x.yaml", "--set", "retrieval.candidates=1000000000000"], "integer >= 1 and <= 100000"),
        (["config", "x.yaml", "--set", "model.prompts.search=hello"], "expected {history_cf} once, found 0"),
        (["verify", "nowhere"], "nowhere"),
        (["compare", "nowhere", "x"], "nowhere/metrics.json: the file does not exist; run `gensr evaluate`"),
        (["bench", "lightgcn", "--nodes", "1000", "--rounds", "1"], "--edges: 1,000,000 of the 250,000 pairs"),
        (["recommend", "nowhere", "--user", "1"], "nowhere: no such run folder; give the folder of a finished"),
        (["search", "nowhere", "--user", "1", "--query", "a"], "nowhere: no such run folder"),
        (
            ["lightgcn", "x.yaml"],
            "runs/x/stages/prepare.json: stage prepare has not run in runs/x; run `gensr prepare`",
        ),
        (["prepare", "tables", "x.yaml"], "data.raw: not set"),
        (["check", "x.yaml", "--set", "data.source=tables"], "data.raw: not set, expected the folder of the raw log"),
        (
            ["run", "x.yaml", "--set", "data.raw=/log"],
            "--set data.raw=/log: data.raw is '/log', but data.source is 'si",
        ),
        (["check", "x.yaml"], "data.raw: expected a folder, and 'runs/x/raw' is none; run `gensr simulate` first"),
        (["prepare", "amazon", "x.yaml", "--set", "data.raw=/nowhere"], "data.raw: expected a folder"),
    ],
)
def test_input_errors_are_one_line_and_exit_2(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("")
    assert main([*arguments, "--json"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    error = captured.err.splitlines()[-1]
    assert error.startswith("gensr: error: ")
    assert expected in error
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: COMMAND; see gensr --help"),
        (["trian"], "invalid choice: 'trian'"),
        (["prepare", "simulate", "--preset", "huge"], "invalid choice: 'huge'"),
        (["bench", "lightgcn", "--nodes", "3"], "expected an integer from 100 to 10000000000, found '3'"),
        (["prepare", "kuaishou", "x.yaml"], "invalid choice: 'kuaishou'"),
        (["recommend", "r", "--user", "1", "-k", "0"], "expected an integer from 1 to 100000, found '0'"),
        (["recommend", "r", "--user", "1", "-k", "ten"], "expected an integer from 1 to 100000, found 'ten'"),
        (["search", "r", "--user", "1"], "the following arguments are required: --query"),
        (["train", "x.yaml", "--st", "a=b"], "unrecognized arguments: --st"),
    ],
)
def test_command_line_errors_are_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("gensr: error: ")
    assert expected in captured.err


def test_a_benchmark_leaves_other_files_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path, tmp_path / "file"):
        assert main(["bench", "data", "--folder", str(folder)]) == 2
        assert "expected an empty folder or none; give a new folder" in capfd.readouterr().err.splitlines()[-1]
    assert (tmp_path / "file").read_text() == "precious"


def test_a_command_needs_a_config_or_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "gensr: error: CONFIG: no config is given; give a YAML file or --preset\n"


def test_a_preset_sets_sizes_and_run_folder(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--preset", "tiny", "--set", "simulate.days=9", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["run"] == "runs/simulated-tiny"
    assert (found["data"]["source"], found["simulate"]["users"], found["simulate"]["days"]) == ("simulate", 51, 9)


def test_help_and_config_load_no_heavy_library() -> None:
    program = (
        "import sys; from gensr_dist.cli.main import main; main(['config', sys.argv[1]]);"
        "heavy = {'torch', 'polars', 'transformers', 'deepspeed', 'faiss', 'numpy'} & set(sys.modules);"
        "print(heavy, file=sys.stderr); sys.exit(len(heavy))"
    )
    command = [sys.executable, "-c", program, str(ROOT / "configs" / "quickstart.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f'"{sys.executable}" -m gensr_dist config configs/quickstart.yaml'
    program = f'{command} | head -c 1 >/dev/null; echo "${{PIPESTATUS[0]}}"'
    ended = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert ended.stdout.strip() in {"0", "141"}  # whether it had finished writing before the reader left
    assert ended.stderr == ""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "gensr_dist", "config", "configs/quickstart.yaml"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=200, cwd=ROOT)
    assert ended.returncode == 2
    assert (
        ended.stderr
        == "gensr: error: output: No space left on device; free space, or write elsewhere (`run`, `--out`)\n"
    )


def test_what_libraries_print_stays_out_of_the_results(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def noisy(path: Path, overrides: list[str]) -> Config:
        os.write(1, b"noise of a C library\n")
        return load_config(path, overrides)

    (tmp_path / "x.yaml").write_text("")
    monkeypatch.setattr("gensr_dist.cli.commands.load_config", noisy)
    assert main(["config", str(tmp_path / "x.yaml"), "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["seed"] == 0
    assert "noise of a C library" in captured.err


def test_an_interrupt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(path: Path, overrides: list[str]) -> Config:
        raise KeyboardInterrupt

    monkeypatch.setattr("gensr_dist.cli.commands.load_config", interrupt)
    assert main(["config", str(tmp_path / "x.yaml")]) == 130
    assert capfd.readouterr().err.startswith("gensr: error: interrupted; ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 2.91 TiB for an array"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        ImportError("libfaiss.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def load(path: Path, overrides: list[str]) -> Config:
        raise error

    monkeypatch.setattr("gensr_dist.cli.commands.load_config", load)
    assert main(["config", str(tmp_path / "x.yaml")]) == 2
    remedy = "lower the setting that asks for so much, or take a larger machine"
    assert capfd.readouterr().err == f"gensr: error: memory: {error}; {remedy}\n"


def test_python_m_is_the_command() -> None:
    ended = gensr("config", "configs/quickstart.yaml", cwd=ROOT)
    assert ended.returncode == 0
    assert "backbone: nano" in ended.stdout


@pytest.mark.parametrize("well", [True, False])
def test_doctor_says_a_line_a_node_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], well: bool
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Report:
        ok: bool
        exit_code: ClassVar[int] = 0 if well else 2

        def lines(self) -> tuple[str, ...]:
            return ("host0  ok" if self.ok else "host0  FAIL  no ssh; start sshd",)

    monkeypatch.setattr("gensr_dist.doctor.checks.check_hosts", lambda config, hostfile: Report(well))
    assert main(["doctor", "--json"]) == (0 if well else 2)
    output = capfd.readouterr()
    assert json.loads(output.out) == {"ok": well}
    assert ("host0  ok" in output.err) == well
