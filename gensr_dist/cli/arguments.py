"""Parts of the command line that all commands share."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gensr_dist.storage.home import at_home


class OneLineParser(argparse.ArgumentParser):
    """Command-line errors on one line, and values as they are typed.

    `--user -abc` is the user `-abc`, as it is for most programs: argparse would take it for an option. What is exactly
    one of the options is one, and can still be given as `--user=--json`.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, of this command and, through it, of its subcommands."""
        given = list(sys.argv[1:] if args is None else args)
        for number, argument in enumerate(given, start=1):
            self._require_utf8(argument, number)
        return super().parse_known_args(self._in_order(given), namespace)

    def _in_order(self, given: list[str]) -> list[str]:
        """Options first, each with a value that begins with a dash in one word, so that any order is understood.

        Of `NAME --json CONFIG` argparse would not find CONFIG where both may be left out (bpo-15112).
        """
        options: list[str] = []
        others: list[str] = []
        rest = iter(given)
        for argument in rest:
            action = self._option_string_actions.get(argument)
            if argument == "--" or (self._subparsers is not None and not argument.startswith("-")):
                others += [argument, *rest]  # the latter in an order that the command knows
            elif not argument.startswith("-") or argument == "-":
                others.append(argument)
            elif action is None or action.nargs is not None:
                options.append(argument)
            elif (value := next(rest, None)) is None:
                others.append(argument)  # last, as it was given: nothing is its value
            elif value.startswith("-") and value != "--" and value not in self._option_string_actions:
                options.append(f"{argument}={value}" if argument.startswith("--") else f"{argument}{value}")
            else:
                options += [argument, value]
        return options + others

    def _require_utf8(self, argument: str, number: int) -> None:
        try:
            argument.encode()
        except UnicodeEncodeError:
            content = os.fsencode(argument)
        else:
            return
        try:
            content.decode()
        except UnicodeDecodeError as error:
            wrong = f"byte {error.start + 1} of argument {number}, {str(content)[1:]}, is not UTF-8"
            self.error(f"{wrong}; write it in UTF-8, and rename the file if it names one")
        self.error(
            f"argument {number}, {content.decode()!r}, needs a locale of UTF-8, and that of this shell is another; "
            "set PYTHONUTF8=1"
        )

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        program = "gensr" if self.prog.startswith("gensr ") else self.prog  # one name for all its commands
        self.exit(2, f"{program}: error: {message}; see {self.prog} --help\n")


def integer(low: int, high: int) -> Callable[[str], int]:
    """A parser of integers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"expected an integer from {low} to {high}, found {text!r}")
        return int(text)

    return parse


def local_path(text: str) -> Path:
    """A path of this machine, with `~` for the home folder as in configs: shells leave that of `--out=~/x` as it is."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"expected a path of this machine, found {text!r}")
    return Path(at_home(text))
