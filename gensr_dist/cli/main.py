"""The command `gensr`: one command a stage, one for all of them, and the answers of a finished run."""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from gensr_dist.cli.analyses import add_analyses
from gensr_dist.cli.answers import add_answers
from gensr_dist.cli.arguments import OneLineParser
from gensr_dist.cli.baselines import add_baselines
from gensr_dist.cli.bench import add_benches
from gensr_dist.cli.commands import Commands
from gensr_dist.cli.ending import Ended, ended_by_signals
from gensr_dist.cli.machine_errors import as_machine_error, require_current_folder, require_threads
from gensr_dist.cli.paper import add_paper
from gensr_dist.cli.stages import add_stages
from gensr_dist.cli.standard_streams import open_closed_streams
from gensr_dist.cli.studies import add_studies
from gensr_dist.cli.tools import add_tools
from gensr_dist.errors import InputError, Paused, say_at_once
from gensr_dist.storage.output_errors import as_input_error, quieten_writing_threads

DESCRIPTION = """GenSR: one generative model for "what next for this user" and "this user typed this query".

A run is described by one YAML config and keeps everything it makes in one run folder. `gensr run CONFIG` takes
raw logs to evaluated answers and skips what is unchanged; the stages can also be run one by one, in this order:
simulate (only for simulated data), prepare, lightgcn, channels, train, index, evaluate. `gensr check CONFIG` says
beforehand what a raw log is understood to hold."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for input that cannot be used, 130 for an interrupt.

    SIGTERM and SIGHUP end it as an interrupt does, with 143 and 129.

    When a launcher started this process and another rank or its machine is lost, it says so and ends with code 1.
    """
    open_closed_streams()
    quieten_writing_threads()
    options = _parser().parse_args(arguments)
    rank = os.environ.get("RANK", "0")
    _log_to_stderr(first=rank == "0", launched="WORLD_SIZE" in os.environ)
    who = "" if rank == "0" else f"rank {rank}: "
    try:
        with ended_by_signals(), _results_stream() as results:
            require_current_folder()
            require_threads()
            say = _sayer(sys.stderr if options.json else results)
            try:
                result = options.command(options, say)
            except Paused as pause:
                if rank == "0":
                    say(str(pause))
                result = {"paused": str(pause)}
            if options.json and rank == "0":
                print(json.dumps(result, default=_plain), file=results, flush=True)
            if refusal := getattr(result, "refusal", None):  # of a report that says more than the error does
                raise refusal
            code: int = getattr(result, "exit_code", 0)  # of a report that is bad news
    except InputError as error:
        return _fail(f"{who}{error}", 2)
    except KeyboardInterrupt as interrupt:
        how, code = (interrupt.name, interrupt.code) if isinstance(interrupt, Ended) else ("interrupted", 130)
        return _fail(f"{how}; the same command goes on from the last finished stage or checkpoint", code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python's own flush at exit stays quiet
        return 128 + 13
    except (OSError, UnicodeEncodeError, MemoryError, RuntimeError, ImportError) as error:
        problem = (as_input_error(error) if isinstance(error, OSError) else None) or as_machine_error(error)
        if problem is not None:
            return _fail(f"{who}{problem}", 2)
        if isinstance(error, OSError | UnicodeEncodeError):
            raise
        from gensr_dist.distributed.ending import end_process, lost_connection

        lost = lost_connection(error)
        if lost is None:
            raise
        end_process(int(rank), lost)
    except BaseException as panic:  # of libraries in Rust, which is no Exception
        problem = as_machine_error(panic) if type(panic).__name__ == "PanicException" else None
        if problem is None:
            raise
        return _fail(f"{who}{problem}", 2)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="gensr", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--local_rank", "--local-rank"):
        parser.add_argument(name, dest="local_rank", help=argparse.SUPPRESS)  # launchers also set it as a variable
    commands = Commands(parser, "COMMAND")
    add_stages(commands)
    add_baselines(commands)
    add_studies(commands)
    add_analyses(commands)
    add_paper(commands)
    add_answers(commands)
    add_tools(commands)
    add_benches(commands.group("bench", "measure this machine: ours against reference forms, and what failures cost"))
    return parser


@contextlib.contextmanager
def _results_stream() -> Iterator[TextIO]:
    """The real standard output; what libraries print meanwhile goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    with open(kept, "w", encoding=sys.stdout.encoding or "utf-8", errors="backslashreplace") as results:  # noqa: PTH123
        try:
            yield results
        finally:
            with contextlib.suppress(ValueError, OSError):
                sys.stdout.flush()
            os.dup2(kept, 1)
            results.flush()


def _sayer(stream: TextIO) -> Callable[[str], None]:
    return lambda line: print(line, file=stream, flush=True)


def _fail(message: str, code: int) -> int:
    say_at_once(f"gensr: error: {message}")
    return code


def _log_to_stderr(*, first: bool, launched: bool) -> None:
    """The first rank logs; a launcher puts its own words before a line."""
    form = "%(message)s" if launched else "%(asctime)s %(levelname).1s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING if first else logging.ERROR, format=form, datefmt="%H:%M:%S")
    if first:
        logging.getLogger("gensr_dist").setLevel(logging.INFO)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
