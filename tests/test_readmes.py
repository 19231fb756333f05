"""What people read first is true: links lead somewhere, commands are understood, keys and files are there."""

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from gensr_dist.baselines.registry import BASELINES
from gensr_dist.baselines.untrained.systems import UNTRAINED
from gensr_dist.cli.main import _parser, main
from gensr_dist.config.root import Config, load_config
from gensr_dist.config.settings_file import keys_of
from gensr_dist.errors import InputError
from gensr_dist.study.plan import open_study
from tests.test_rooms import ROOMS

ROOT = Path(__file__).parents[1]
TEXTS = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "configs/*.md", "gensr_dist/**/*.md", "launch/*.md", "shards/**/*.md")
    for path in ROOT.glob(pattern)
)
OF_BASELINES = {key for name, entry in BASELINES.items() for key in keys_of(entry.settings, f"{name}.")}
KEYS = keys_of(Config)
SECTIONS = {key.split(".")[0] for key in KEYS if "." in key}
GENERATED = ROOT / "configs" / "README.md"
OWN = {"configs/mine.yaml", "launch/hostfile"}  # files that the reader writes
PLACEHOLDERS = {"SOURCE": "tables", "NAME": "data"}  # of words that only some values are
PLACEHOLDER = re.compile(r"[A-Z]+(_[A-Z]+)?")
MACHINE = re.compile(r"(?<![\w.])/(tmp|home|work|root|mnt|Users)/")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"(?<![\w./-])((?:\.github|\.ci|launch|configs|shards|tests|gensr_dist)/[\w./*-]*\w)")
MODULE = re.compile(r"(?<![\w./-])((?:[a-z_]+/)+[a-z_0-9]+\.py)")


def fences(text: str, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(text) if language in languages]


def prose(text: str) -> str:
    return FENCE.sub("", text)


def inline_code(text: str) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def anchors(text: str) -> set[str]:
    """Of a file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `gensr ...` in fences and inline code."""
    lines = [line.strip() for body in fences(text, "", "bash") for line in body.splitlines()]
    for line in [*lines, *inline_code(text)]:
        if line.startswith("gensr "):
            yield shlex.split(line, comments=True)[1:]


def wide_lines(text: str, *, tables: bool) -> list[str]:
    lines = text.splitlines()
    return [line for line in lines if len(line) > 120 and not (tables and line.lstrip().startswith("|"))]


def broken_links(path: Path, text: str) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        there = target.exists()
        if there and anchor:
            there = anchor in anchors(text if target == path else target.read_text(encoding="utf-8"))
        broken += [] if there else [link]
    return broken


def refused(words: Sequence[str]) -> str:
    """Why the command line does not take a command; empty where it does."""
    words = [PLACEHOLDERS.get(word, word) for word in words]
    said = io.StringIO()
    if len(words) == 1 or words[-1] in ("bench", "..."):  # a command that is only named
        words = [words[0], "--help"]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            _parser().parse_args(words)
        except SystemExit as end:
            return said.getvalue() if end.code else ""
    return ""


def unknown_keys(text: str) -> list[str]:
    """Keys after `--set`, and dotted names of inline code that begin like a section, that no config has."""
    named = re.findall(r"--set ([\w.]+)=", text)
    for code in inline_code(text):
        key = re.fullmatch(r"([a-z]+\.[a-z_.0-9]+)([:=].*)?", code)
        if key and key[1].split(".")[0] in SECTIONS:
            named.append(key[1])
    return [key for key in named if key not in KEYS and key not in OF_BASELINES and key != "a.b"]


def missing_files(text: str) -> list[str]:
    code = "\n".join([*inline_code(text), *fences(text, "", "bash", "python", "yaml")])
    missing = [path for path in PATH.findall(code) if path not in OWN and not any(ROOT.glob(path))]
    modules = [path for path in MODULE.findall(code) if not (ROOT / path).exists()]
    missing += [path for path in modules if not (ROOT / "gensr_dist" / path).exists()]
    return [path for path in missing if not re.search(r"\bNAME\b|\bruns/", path)]


def each(*paths: Path) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths or TEXTS, ids=lambda path: str(path.relative_to(ROOT)))


def test_all_readmes_are_read() -> None:
    found = {str(path.relative_to(ROOT)) for path in TEXTS}
    assert found >= {"README.md", "launch/README.md", "shards/README.md", "gensr_dist/bench/README.md"}
    assert found >= {"configs/RESULTS.md", ".github/CONTRIBUTING.md", "shards/recipes/tables.md"}


def test_the_readme_is_short_and_narrow() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert wide_lines(text, tables=False) == []


@each(*(path for path in TEXTS if path != GENERATED))
def test_lines_are_narrow_but_in_tables(path: Path) -> None:
    assert wide_lines(path.read_text(encoding="utf-8"), tables=True) == []


@each()
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


@each()
def test_commands_are_understood(path: Path) -> None:
    said = {shlex.join(words): refused(words) for words in commands(path.read_text(encoding="utf-8"))}
    assert {command: error for command, error in said.items() if error} == {}


@each()
def test_keys_are_known_and_files_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert unknown_keys(text) == []
    assert missing_files(text) == []
    assert not MACHINE.search(text)


def with_configs() -> list[tuple[str, ...]]:
    """Arguments of `gensr config` that print the config of each command which names one that is there."""
    found = set()
    for path in TEXTS:
        for words in commands(path.read_text(encoding="utf-8")):
            if "study" in words[:2]:
                continue
            files = [word for word in words if word.endswith(".yaml") and word not in OWN]
            presets = [f"--preset={word}" for option, word in pairwise(words) if option == "--preset"]
            settings = [word for option, word in pairwise(words) if option == "--set"]
            settings = [word for word in settings if word.partition("=")[0] not in OF_BASELINES]
            chosen = [f"--set={word}" for word in settings if not PLACEHOLDER.fullmatch(word.partition("=")[2])]
            if files or presets:
                found.add((*files, *presets, *chosen))
    return sorted(found)


@pytest.mark.parametrize("arguments", with_configs(), ids=" ".join)
def test_configs_of_commands_are_read(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["config", *arguments]) == 0, capfd.readouterr().err
    assert set(yaml.safe_load(capfd.readouterr().out)) == {key.split(".")[0] for key in KEYS}


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "studies").iterdir()), ids=lambda path: path.name)
def test_studies_can_be_begun(path: Path) -> None:
    study = open_study(path, ["data.raw=here"] if "data.raw=" in path.read_text(encoding="utf-8") else [])
    names = {system.system for system in study.plan.systems}
    if path.name != "small.yaml":
        assert names == {"gensr", "fusion", *BASELINES, *UNTRAINED}


def test_help_names_every_command_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    names = {words[0] for words in commands((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert len(names) >= 12
    assert [name for name in names if not re.search(rf"^    {name}\s", shown, re.MULTILINE)] == []


@each()
def test_fenced_yaml_and_python_can_be_read(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for body in fences(text, "python"):
        ast.parse(body)
    for body in [*fences(text, "yaml"), *re.findall(r"^echo '(.*)' > \S+\.yaml$", text, re.MULTILINE)]:
        (tmp_path / "fenced.yaml").write_text(body, encoding="utf-8")
        load_config(tmp_path / "fenced.yaml")


def test_the_python_of_the_readme_finds_what_it_calls() -> None:
    (body,) = fences((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    names: dict[str, Any] = {}
    tree = ast.parse(body)
    exec("\n".join(ast.unparse(line) for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)), names)
    package = names["gensr_dist"]
    assert callable(package.run)
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - {"rank", "text", "score"}
    assert attributes == {"run", "metrics", "recommend", "items"}
    assert all(hasattr(package.Run, name) for name in ("metrics", "recommend", "search", "open"))


def test_the_tour_visits_every_room_in_order() -> None:
    tour = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert tuple(re.findall(r"^\| `(\w+)/?` \|", tour, re.MULTILINE)) == ROOMS


def test_hooks_before_commits_are_the_linters_of_the_test_script() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    script = (ROOT / "launch" / "test.sh").read_text(encoding="utf-8")
    linters = re.findall(r"^(?:check )?((?:ruff|mypy)(?: [^>\n]+)?)(?: >.*)?$", script, re.MULTILINE)
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == linters
    pins = re.findall(r"^(\w+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert {linter.split()[0] for linter in linters} <= set(pins)


def test_hosted_tests_call_the_script_with_the_oldest_python_too() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["tests"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    oldest = re.search(r'python_requires=">=([\d.]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert oldest
    assert job["strategy"]["matrix"]["python"][0] == oldest[1]


def test_the_issue_form_asks_for_what_helps() -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    wanted = {entry["id"] for entry in form["body"] if entry.get("validations", {}).get("required")}
    assert wanted == {"command", "error", "doctor", "versions"}


# What must be found, so that the checks above can fail.


def test_broken_links_are_found() -> None:
    text = "# A title: of `words`, 2\n[a](launch/README.md) [b](gone.md) [c](#a-title-of-words-2) [d](#gone)"
    text += " [e](launch/README.md#watching) [f](launch/README.md#gone) [g](https://example.com)"
    assert broken_links(ROOT / "README.md", text) == ["gone.md", "#gone", "launch/README.md#gone"]


@pytest.mark.parametrize(
    "command",
    ["gensr trian configs/mine.yaml", "gensr prepare mysql CONFIG", "gensr bench nothing", "gensr check --fast CONFIG"],
)
def test_wrong_commands_are_found(command: str) -> None:
    for text in (f"Then `{command}`.", f"```\n{command}   # says why\n```"):
        (words,) = commands(text)
        assert "error" in refused(words)


def test_unknown_keys_and_missing_files_are_found() -> None:
    assert unknown_keys("`train.stpes`, `train.steps: 3`, `data.raw`, gensr --set model.size=3") == [
        "model.size",
        "train.stpes",
    ]
    text = "`launch/gone.sh` `launch/test.sh` `configs/paper/*.yaml` `model/gone.py`"
    text += "\n```\ngensr run configs/gone.yaml\n```\n"
    assert missing_files(text) == ["launch/gone.sh", "configs/gone.yaml", "model/gone.py"]
    assert MACHINE.search("see /home/ann/log")
    assert wide_lines("x" * 121 + "\n|" + "x" * 121, tables=True) == ["x" * 121]


def test_a_wrong_config_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        test_fenced_yaml_and_python_can_be_read(_written(tmp_path, "```yaml\ndata: {sauce: tables}\n```\n"), tmp_path)
    with pytest.raises(SyntaxError):
        test_fenced_yaml_and_python_can_be_read(_written(tmp_path, "```python\nrun(\n```\n"), tmp_path)


def _written(folder: Path, text: str) -> Path:
    (folder / "text.md").write_text(text)
    return folder / "text.md"
