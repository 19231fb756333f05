"""Settings as they are written: a YAML file and `--set` overrides, read into scalars that remember where they stand."""

import codecs
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import yaml

from gensr_dist.errors import InputError

Scalar: TypeAlias = str | int | float | bool | None
Keys: TypeAlias = Mapping[str, Any]  # dotted key -> its type hint, for every key that takes a value

_DIGITS = r"(?:0|[1-9][0-9]*(?:_[0-9]+)*)"
# YAML 1.1 also reads 0123 as octal, 0x7b, 0b11 and 1:30 (ninety): who writes those may mean something else.
_DECIMAL = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Setting:
    """A value and the `file:line` or option that gave it."""

    where: str
    value: Scalar
    written: str  # as it was typed, for messages

    def shown(self) -> str:
        """The value in a message: a text in quotes, anything else as it was typed."""
        if self.value is None:
            return "empty"
        return repr(self.value) if isinstance(self.value, str) else self.written


def keys_of(section: type, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a dataclass of dataclasses, with their type hints, in order of declaration."""
    keys: dict[str, Any] = {}
    for name, hint in get_type_hints(section, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            keys |= keys_of(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            keys[prefix + name] = hint
    return keys


def base_type(hint: Any) -> Any:
    """A type hint without its bounds and marks."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def read_file(path: Path, keys: Keys) -> dict[str, Setting]:
    """Read a YAML file of nested sections.

    Raises:
        InputError: unreadable, not UTF-8, not YAML, a duplicate or unknown key, a value that is no scalar.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wrong = f"expected UTF-8 text, byte {content[error.start]:#04x} is not"
        raise InputError(f"{path}:{line}", wrong, "save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(path, f"cannot read the config ({problem})", "give the path of a YAML config") from None
    try:
        loader = SettingsLoader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}", f"expected YAML ({error.problem})", "fix the syntax of this line") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(path, f"expected YAML ({_one_line(error)})", "fix the syntax of the file") from None
    return {} if root is None or _is_null(root) else dict(_walk(loader, root, "", path, keys))


def read_override(text: str, keys: Keys) -> tuple[str, Setting]:
    """Read `train.steps=100`.

    A key of text takes the value exactly as it stands, `#`, `:` and all, unless the whole of it is quoted as in YAML.
    Other values are YAML. Blanks around a value are not part of it.

    Raises:
        InputError: there is no `=`, the key is unknown or is a section, the value is no scalar, or not all of it is.
    """
    where = f"--set {text}"
    key, equals, written = text.partition("=")
    key, written = key.strip(), written.strip()
    if not equals:
        raise InputError(where, "expected KEY=VALUE", "write for instance --set train.steps=100")
    _check_known(key, where, keys)
    if key not in keys:
        inside = [name for name in keys if name.startswith(f"{key}.")]
        raise InputError(where, f"'{key}' is a section", f"set one of its keys, for instance --set {inside[0]}=...")
    is_text = base_type(keys[key]) is str
    try:
        loader = SettingsLoader(written)
        node = loader.get_single_node()
    except (yaml.YAMLError, RecursionError) as error:
        if not is_text:
            raise InputError(where, f"expected a YAML value ({_one_line(error)})", "quote or fix the value") from None
        node = None
    quoted = isinstance(node, yaml.ScalarNode) and written.startswith(("'", '"'))
    whole = node is not None and node.end_mark.index == len(written)
    if node is not None and (quoted or not is_text) and (whole or not isinstance(node, yaml.ScalarNode)):
        return key, _scalar(loader, node, where, key, keys[key])
    return key, Setting(where, encodable(written, where, key), written)  # with a comment after it, say


def nearest_key(key: str, keys: Keys) -> str:
    """The known key or section most like `key`: by its last word, its initials (`lr`), then the whole dotted path."""
    known = dict.fromkeys([*keys, *_sections(keys)])
    name = key.rpartition(".")[2].lower()

    def likeness(candidate: str) -> float:
        last = candidate.rpartition(".")[2]
        initials = "".join(word[0] for word in last.split("_"))
        by_name = 1.0 if name == initials and len(name) > 1 else SequenceMatcher(None, name, last).ratio()
        return by_name + 0.6 * SequenceMatcher(None, key.lower(), candidate).ratio()

    return max(known, key=likeness)


def encodable(text: str, where: str, key: str) -> str:
    """The text, if it can be written to a file.

    Raises:
        InputError: it holds half a surrogate pair, which bytes that are not UTF-8 become on a command line.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"{key} is {text!r}, expected UTF-8 text, character {error.start + 1} is none"
        raise InputError(where, problem, "write it in UTF-8; rename the file if it is a path") from None
    return text


def _walk(
    loader: "SettingsLoader", node: yaml.Node, prefix: str, path: Path, keys: Keys
) -> Iterator[tuple[str, Setting]]:
    """Every scalar below a mapping; only known sections are entered, so aliases cannot blow it up."""
    where = f"{path}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        name = f"section '{prefix.rstrip('.')}'" if prefix else "the config"
        raise InputError(where, f"expected {name} to be a mapping of keys to values", "write `key: value` lines")
    first_line: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        where = f"{path}:{line}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(where, "expected a key to be one plain value", "write `key: value` lines")
        key = prefix + key_node.value
        if key in first_line:
            raise InputError(where, f"duplicate key '{key}', first on line {first_line[key]}", "keep one of the two")
        first_line[key] = line
        section, _, name = key.rpartition(".")
        if f"{section}." != prefix and section:
            raise InputError(where, f"key '{key[len(prefix) :]}' has a dot in it", f"put `{name}` below `{section}:`")
        _check_known(key, where, keys)
        if key in keys:
            yield key, _scalar(loader, value_node, where, key, keys[key])
        elif not _is_null(value_node):  # a section without keys is empty
            yield from _walk(loader, value_node, f"{key}.", path, keys)


def _check_known(key: str, where: str, keys: Keys) -> None:
    """Refuse a key that is neither a known one nor a section, naming the nearest known one."""
    sections = _sections(keys)
    if key in keys or key in sections:
        return
    inside = max((f"{name}." for name in sections if key.startswith(f"{name}.")), key=len, default="")
    siblings = dict.fromkeys(name[len(inside) :].split(".")[0] for name in keys if name.startswith(inside))
    raise InputError(
        where,
        f"unknown key '{key}', expected one of {', '.join(siblings)}",
        f"did you mean '{nearest_key(key, keys)}'",
    )


def _sections(keys: Keys) -> dict[str, None]:
    names: dict[str, None] = {}
    for key in keys:
        words = key.split(".")
        names |= dict.fromkeys(".".join(words[:end]) for end in range(1, len(words)))
    return names


def _scalar(loader: "SettingsLoader", node: yaml.Node, where: str, key: str, hint: Any) -> Setting:
    if isinstance(node, yaml.ScalarNode):
        written = node.value
        try:
            value = loader.construct_object(node)
        except UnfitTagError as error:
            raise InputError(where, f"{key} cannot be read ({error.problem})", "write a plain value") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise InputError(where, f"{key} cannot be read ({_one_line(error)})", "write a plain value") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(where, f"{key} is {written}, expected a finite number", "write a finite number")
        if isinstance(value, int | float) and not isinstance(value, bool) and base_type(hint) is not str:
            check_number(written, value, where, key)
        if isinstance(value, str):
            encodable(value, where, key)
        if value is None or isinstance(value, str | int | float | bool):
            return Setting(where, value, written)
    raise InputError(where, f"expected {key} to be one plain value", "write a number, text, true or false")


def check_number(written: str, value: float, where: str, key: str) -> None:
    """Refuse a number that is not what its digits say.

    Raises:
        InputError: it is not in decimal digits, begins with a zero that may mean octal, or is too small to be kept.
    """
    if not _DECIMAL.fullmatch(written):
        raise InputError(
            where,
            f"{key} is {written}, expected a number in decimal digits without leading zeros",
            "write it so",
        )
    mantissa = written.lower().partition("e")[0]
    if value == 0 and mantissa.strip("+-0._"):
        raise InputError(where, f"{key} is {written}, which is too near to 0 for a float", "write 0 or a larger number")


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class UnfitTagError(yaml.constructor.ConstructorError):
    """What is written is not of the type that the tag before it says."""


class SettingsLoader(yaml.SafeLoader):
    """YAML 1.1 with two traps removed: `1e-3` is a number, and a date is text."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; `!!bool maybe` is an error of YAML, as `!!int x` is."""
        try:
            return super().construct_object(node, deep)
        except (LookupError, AttributeError, TypeError):
            if not isinstance(node, yaml.ScalarNode):
                raise
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            problem = f"{node.value!r} is no {tag}"
            raise UnfitTagError(problem=problem, problem_mark=node.start_mark) from None


_FLOAT = "tag:yaml.org,2002:float"
SettingsLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_FLOAT, "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class SettingsDumper(yaml.SafeDumper):
    """Quotes what `SettingsLoader`, or any reader of YAML 1.1, would take for something else than text."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """In double quotes where there are line breaks of any kind, which plain ones would read as blanks."""
        broken = any(sign in data for sign in _BREAKS)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if broken else None)


_BREAKS = "\n\x85\u2028\u2029"
SettingsDumper.add_representer(str, SettingsDumper.represent_str)
for _kind in (SettingsLoader, SettingsDumper):
    _kind.add_implicit_resolver(
        _FLOAT,
        re.compile(
            r"^(?:[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    )


def as_yaml(value: Any) -> str:
    """A value, or a tree of them, as `SettingsLoader` reads it back."""
    return yaml.dump(value, Dumper=SettingsDumper, sort_keys=False, allow_unicode=True, width=1_000)
