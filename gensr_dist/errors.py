"""The one error that user input can raise, the end of a run before its last step, and how ranks speak."""

import contextlib
import sys
from pathlib import Path


class InputError(ValueError):
    """Something the user gave cannot be used: data, config, run folder or command line.

    The command line prints it as one line and exits with code 2. Everything else that is raised is a bug.

    Args:
        where: file, `file:line`, config key or option that is at fault.
        problem: what was found and what was expected, one sentence without the final stop.
        remedy: what to do about it, one imperative sentence without the final stop.
    """

    def __init__(self, where: str | Path, problem: str, remedy: str) -> None:
        message = f"{where}: {problem}; {remedy}"
        super().__init__(printable(message))  # parts of it may come out of a damaged file
        self.where = str(where)
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Travel between processes."""
        return type(self), (self.where, self.problem, self.remedy)


class Paused(Exception):  # noqa: N818
    """Work ended early because it was asked to, with everything kept; the same command goes on from there.

    The command line prints it as one line and exits with code 0.
    """


def printable(text: str) -> str:
    """The text on one line: no line break or terminal control of a log, a file or another machine gets through."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def say_at_once(line: str) -> None:
    """Write a line to stderr at once: all ranks of a machine may write there, and theirs must not run into it."""
    with contextlib.suppress(OSError):  # of a terminal that is gone
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
