"""Parts of the command line that all commands share."""

import argparse
from collections.abc import Callable
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Command-line errors on one line."""

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
