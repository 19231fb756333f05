"""What every key means: the docstrings below the fields of the config's dataclasses, for people."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gensr_dist.config.root import Config, bounds_of
from gensr_dist.config.settings_file import as_yaml, base_type

_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of the config."""

    name: str  # dotted
    values: str  # which may be given
    default: str
    meaning: str


def keys() -> Iterator[tuple[str, str, list[Key]]]:
    """Sections in order: dotted name (empty for the root), what it is, its keys."""
    yield from _section(Config, "")


def explained_yaml(config: Config) -> str:
    """Every key with its value and, above it, what it means."""
    lines: list[str] = []
    values = dataclasses.asdict(config)
    for name, about, found in keys():
        depth, place = 0, values
        for word in name.split(".") if name else ():
            place, depth = place[word], depth + 1
        if name:
            lines += ["", *_comment(about, depth - 1), f"{_indent(depth - 1)}{name.rpartition('.')[2]}:"]
        for key in found:
            word = key.name.rpartition(".")[2]
            given = as_yaml({word: place[word]}).rstrip("\n")
            lines += [*_comment(f"{key.meaning} ({key.values})".strip(), depth), f"{_indent(depth)}{given}"]
    return "\n".join(lines) + "\n"


def keys_markdown() -> str:
    """configs/README.md."""
    lines = [
        "# Every key of a config",
        "",
        "A run is one YAML file of nested sections; `--set a.b=c` replaces a key on the command line, and",
        "`gensr config CONFIG --explain` prints all of them with their values. This page is made by",
        "`python -m gensr_dist.config.explanation > configs/README.md`; a test says when it is not current.",
    ]
    for name, about, found in keys():
        lines += ["", f"## {name or 'the root'}", "", about, "", "| key | default | values | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [f"| `{key.name}` | `{key.default}` | {key.values} | {_cell(key.meaning)} |" for key in found]
    return "\n".join(lines) + "\n"


def _section(section: type, name: str) -> Iterator[tuple[str, str, list[Key]]]:
    hints = get_type_hints(section, include_extras=True)
    meanings = _docstrings(section)
    default = section()
    plain = {word: hint for word, hint in hints.items() if not dataclasses.is_dataclass(hint)}
    prefix = f"{name}." if name else ""
    about = " ".join(inspect.cleandoc(section.__doc__ or "").split())
    yield (
        name,
        about,
        [
            Key(
                name=prefix + word,
                values=_values(hint),
                default=_shown(getattr(default, word)),
                meaning=meanings.get(word, ""),
            )
            for word, hint in plain.items()
        ],
    )
    for word, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            yield from _section(hint, prefix + word)  # type: ignore[arg-type]


def _docstrings(section: type) -> Mapping[str, str]:
    """The text below each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            found[field.target.id] = " ".join(str(text).split())
    return found


def _values(hint: Any) -> str:
    base = base_type(hint)
    if get_origin(base) is Literal:
        return ", ".join(map(str, get_args(base)))
    name = {bool: "true, false", int: "integer", float: "number", str: "text"}[base]
    return " ".join([name, " and ".join(bounds_of(hint))]).strip()


def _shown(value: Any) -> str:
    return as_yaml(value).removesuffix("\n").removesuffix("\n...") if value != "" else '""'


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _indent(depth: int) -> str:
    return "  " * depth


def _comment(text: str, depth: int) -> list[str]:
    return [f"{_indent(depth)}# {line}" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


if __name__ == "__main__":
    print(keys_markdown(), end="")
