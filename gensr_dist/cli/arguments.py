"""Parts of the command line that all commands share."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


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
        return super().parse_known_args(self._joined(given), namespace)

    def _joined(self, given: list[str]) -> list[str]:
        """The arguments with values that begin with a dash in one word with their option."""
        joined: list[str] = []
        rest = iter(given)
        for argument in rest:
            action = self._option_string_actions.get(argument)
            if action is None or action.nargs is not None or argument == "--":
                joined.append(argument)
                continue
            value = next(rest, None)
            if value is None:
                joined.append(argument)
            elif value.startswith("-") and value != "--" and value not in self._option_string_actions:
                joined.append(f"{argument}={value}" if argument.startswith("--") else f"{argument}{value}")
            else:
                joined += [argument, value]
        return joined

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
