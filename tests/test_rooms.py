"""Dependencies point one way: no room imports from one above it. Files are short, names of classes unique."""

import ast
import typing
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import gensr_dist

PACKAGE = Path(gensr_dist.__file__).parent

# From the ground up. Config sections live beside what they configure, and the root config above them reads them all.
ROOMS = (
    *("errors", "sentences", "storage", "pages", "distributed", "kernels", "data", "model", "config", "runs"),
    *(
        "evaluation",
        "graph",
        "train",
        "baselines",
        "retrieval",
        "analysis",
        "stages",
        "study",
        "paper",
        "interface",
        "doctor",
        "bench",
        "cli",
    ),
)
FACES = ("", "__main__")  # the package itself and its entry


def imports() -> Iterator[tuple[str, str]]:
    """Pairs of a module and a module of ours that it imports, wherever in the file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gensr_dist":
                yield module, node.module.removeprefix("gensr_dist").lstrip(".")
            elif isinstance(node, ast.Import):
                ours = (name.name for name in node.names if name.name.split(".")[0] == "gensr_dist")
                yield from ((module, name.removeprefix("gensr_dist").lstrip(".")) for name in ours)


def room(module: str) -> str:
    return module.split(".")[0].removesuffix("__init__")


def is_section(module: str) -> bool:
    return module.endswith(".config")


def test_no_room_reads_from_one_above_it() -> None:
    seen = list(imports())
    assert len(seen) > 500
    upwards = [
        f"{module} imports {imported}"
        for module, imported in seen
        if room(module) not in FACES
        and room(imported) not in FACES
        and ROOMS.index(room(imported)) > ROOMS.index(room(module))
        and not (module == "config.root" and is_section(imported))
        and not (is_section(module) and imported == "config.marks")
    ]
    assert upwards == []


def test_every_room_is_in_the_order() -> None:
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert found - {"py"} == set(ROOMS)


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path): lines for path, lines in lengths.items() if lines > 350} == {}


def test_names_of_public_classes_are_unique() -> None:
    """One name, one thing: who reads `Split` need not ask which; nor does a class hide one of `typing`."""
    modules = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(path.relative_to(PACKAGE).as_posix())
    assert len(modules) > 300
    assert {name: paths for name, paths in modules.items() if len(paths) > 1} == {}
    assert set(modules) & set(typing.__all__) <= {
        "Match"
    }  # the old name of `re.Match`, which nobody imports from there
