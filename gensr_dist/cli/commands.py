"""How a command is added to the parser, and what many of them share."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from gensr_dist.cli.arguments import OneLineParser, local_path
from gensr_dist.config.root import Config, load_config
from gensr_dist.data.presets import PRESETS
from gensr_dist.errors import InputError
from gensr_dist.stages.runner import Say

Command: TypeAlias = Callable[[argparse.Namespace, Say], Any]  # what it returns is what `--json` prints


class _HasLines(Protocol):
    def lines(self) -> Sequence[str]: ...


Told = TypeVar("Told", bound=_HasLines)


class Commands:
    """Commands below one parser."""

    def __init__(self, parser: argparse.ArgumentParser, metavar: str) -> None:
        self._within = parser.add_subparsers(metavar=metavar, required=True, parser_class=OneLineParser)

    def add(self, name: str, command: Command, summary: str, more: str, example: str) -> argparse.ArgumentParser:
        """Add a command: `summary` is its line in the help of all, `more` stands in its own."""
        added: argparse.ArgumentParser = self._within.add_parser(
            name,
            help=summary,
            description=f"{_sentence(summary)}\n\n{more}",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command, name=name)
        added.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
        return added

    def group(self, name: str, summary: str) -> "Commands":
        """Add a command that only has commands below it."""
        return Commands(self._within.add_parser(name, help=summary, description=_sentence(summary)), "NAME")


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def add_config(command: argparse.ArgumentParser) -> None:
    """Give a command CONFIG, --preset and --set."""
    command.add_argument(
        "config", metavar="CONFIG", nargs="?", type=local_path, help="YAML file, e.g. configs/quickstart.yaml"
    )
    command.add_argument(
        "--preset",
        metavar="NAME",
        choices=tuple(PRESETS),
        help=f"sizes of the simulated log: {', '.join(PRESETS)} (KuaiSAR's full size); needs no CONFIG",
    )
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a setting, e.g. --set train.steps=100; repeatable; `gensr config` lists all keys",
    )


def add_ray(command: argparse.ArgumentParser) -> None:
    """Give a command --engine and --address."""
    command.add_argument("--engine", choices=("local", "ray"), default="local", help="who does the work (local)")
    command.add_argument("--address", metavar="A", default="", help="address of a running Ray cluster, e.g. auto")


def check_ray(options: argparse.Namespace) -> None:
    """Raise InputError where an address has no engine."""
    if options.address and options.engine != "ray":
        raise InputError("--address", "the local engine has none", "add --engine ray")


def told(result: Told, say: Say) -> Told:
    """Print what a result says of itself; the result."""
    for line in result.lines():
        say(line)
    return result


def load(options: argparse.Namespace, more: Sequence[str] = ()) -> Config:
    """The config of a command: file, then preset, then --set, then what the command itself fixes.

    Raises:
        InputError: it cannot be used.
    """
    preset = []
    if options.preset:
        sizes = dataclasses.asdict(PRESETS[options.preset])
        preset = ["data.source=simulate", *(f"simulate.{key}={value}" for key, value in sizes.items())]
        if options.config is None:
            preset.append(f"run=runs/simulated-{options.preset}")
    elif options.config is None:
        raise InputError("CONFIG", "no config is given", "give a YAML file or --preset")
    return load_config(options.config, [*preset, *options.set, *more])
