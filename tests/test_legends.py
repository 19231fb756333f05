"""Names of tensors and arrays end in their dimensions, and the head of their file says what these letters are."""

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

import gensr_dist

PACKAGE = Path(gensr_dist.__file__).parent
NAME = re.compile(r"_?[a-z][a-z0-9_]*_([0-9]*[A-Z][A-Z0-9]*)")
LEGEND = re.compile(r"\bDimensions\b.*?(?=\n\n|\Z)", re.DOTALL)
OTHER = re.compile(r"as\s+in\s+`([a-z0-9_/]+\.py)`")


def letters(tree: ast.Module) -> Mapping[str, set[str]]:
    """Names that a file gives to arguments, fields and variables, by each letter of their dimensions."""
    found = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        else:
            continue
        if match := NAME.fullmatch(name):
            for letter in filter(str.isalpha, match[1]):
                found[letter].add(name)
    return found


def legend(path: Path) -> str:
    """What a file says of its letters, and what the file says that it names."""
    own = LEGEND.search(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    if own is None:
        return ""
    named = [[folder / name for folder in (path.parent, PACKAGE)] for name in OTHER.findall(own[0])]
    others = [next(file for file in files if file.exists()) for files in named]
    return " ".join([own[0], *(legend(file) for file in others)])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_letters_of_dimensions_are_in_the_legend(path: Path) -> None:
    """A letter of one name alone may go without: its line is its legend."""
    known = set(re.findall(r"\b[A-Z]\b", legend(path)))
    used = letters(ast.parse(path.read_text(encoding="utf-8")))
    assert {letter: names for letter, names in used.items() if len(names) > 1 and letter not in known} == {}


def test_letters_are_found() -> None:
    tree = ast.parse("def f(a_GL, b): c_GKD = a_GL; self.d_X = 1; e_2P: int = 0; SIZE_A = 1; _f_Q1, g = b")
    assert set(letters(tree)) == {"G", "L", "K", "D", "P", "Q"}
    assert letters(tree)["G"] == {"a_GL", "c_GKD"}
