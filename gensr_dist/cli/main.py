"""The command `gensr`: one command a stage, one for all of them, and the answers of a finished run."""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from gensr_dist.cli.arguments import OneLineParser, integer
from gensr_dist.cli.bench import add_benches
from gensr_dist.cli.standard_streams import open_closed_streams
from gensr_dist.config.root import Config, load_config, resolved_yaml
from gensr_dist.data.presets import PRESETS
from gensr_dist.errors import InputError, Paused
from gensr_dist.run.folder import RunFolder
from gensr_dist.run.records import STAGES
from gensr_dist.storage.output_errors import as_input_error, quieten_writing_threads

DESCRIPTION = """GenSR: one generative model for "what next for this user" and "this user typed this query".

A run is described by one YAML config and keeps everything it makes in one run folder. `gensr run CONFIG` takes
raw logs to evaluated answers and skips what is unchanged; the stages can also be run one by one, in this order:
simulate (only for simulated data), prepare, lightgcn, channels, train, index, evaluate. `gensr check CONFIG` says
beforehand what a raw log is understood to hold."""

STAGE_HELP = {
    "simulate": (
        "write a simulated KuaiSAR-format log into the run folder",
        "Users have planted tastes, items have texts, searches have queries; section `simulate` sets the sizes.",
    ),
    "prepare": (
        "read a raw log and write timeline shards",
        "SOURCE says how the raw log is written and stands in for data.source of the config:\n"
        "  simulate  what `gensr simulate` wrote\n"
        "  kuaisar   rec_inter.csv, src_inter.csv, user_features.csv, item_features.csv\n"
        "  amazon    reviews_*_5.json.gz and meta_*.json.gz\n"
        "  tables    your own CSV or Parquet: events (user_id, item_id, behaviour, time; if you have them query,\n"
        "            positive) and items (item_id, text); shards/recipes/tables.md says what the columns may hold\n"
        "The raw log lies in data.raw. What was dropped or mended is counted and printed.",
    ),
    "lightgcn": (
        "train LightGCN and write the CF vectors of items and users",
        "Reads the recommendation training events of the shards. Section `lightgcn` sets width, layers and epochs.",
    ),
    "channels": (
        "count what goes together: the lists that channels of candidates read",
        "Items met by the same users, alike texts, what searches found. Training draws hard negatives from them.",
    ),
    "train": (
        "train GenSR in this process",
        "An interrupted training goes on from its last checkpoint. Losses and metrics go to RUN/tensorboard.\n"
        "For several GPUs or machines start `python -m gensr_dist.train CONFIG` through deepspeed or torchrun; see\n"
        "README.md.",
    ),
    "index": (
        "index all items for candidate generation and fit the order of answers",
        "Section `retrieval` chooses flat, ivf or hnsw, and how many validation rows the orders are fitted on.",
    ),
    "evaluate": (
        "evaluate GenSR and the baselines; write RUN/metrics.json and RUN/report.md",
        "One positive among frozen negatives, both tasks apart, then the whole catalogue through its candidates.",
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for input that cannot be used, 130 for an interrupt."""
    open_closed_streams()
    quieten_writing_threads()
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    try:
        with _results_stream() as results:
            say = _sayer(sys.stderr if options.json else results)
            try:
                result = options.command(options, say)
            except Paused as pause:
                say(str(pause))
                result = {"paused": str(pause)}
            if options.json:
                print(json.dumps(result, default=_plain), file=results, flush=True)
            if refusal := getattr(result, "refusal", None):  # of a report that says more than the error does
                raise refusal
            code: int = getattr(result, "exit_code", 0)  # of a report that is bad news
    except InputError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the last finished stage or checkpoint", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python's own flush at exit stays quiet
        return 128 + 13
    except OSError as error:
        problem = as_input_error(error)
        if problem is None:
            raise
        return _fail(str(problem), 2)
    except RuntimeError as error:
        from gensr_dist.distributed.heartbeat import lost_connection

        lost = lost_connection(error)
        if lost is None:
            raise
        return _fail(f"{lost}; start all ranks again, or, to work alone, unset RANK and WORLD_SIZE", 2)
    return code


def _run_stage(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.stages.runner import Preparation, run_stage

    preparation = Preparation()
    source = []
    if options.name == "prepare":
        if options.address and options.engine != "ray":
            raise InputError("--address", "the local engine has none", "add --engine ray")
        preparation = Preparation(engine=options.engine, address=options.address, workers=options.workers)
        source = [f"data.source={options.source}"]
    return run_stage(options.name, _load(options, source), say, preparation)


def _run_all(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.stages.runner import run_all

    return run_all(_load(options), say)


def _load(options: argparse.Namespace, more: Sequence[str] = ()) -> Config:
    """The config of a command: file, then preset, then --set, then what the command itself fixes."""
    preset = []
    if options.preset:
        sizes = dataclasses.asdict(PRESETS[options.preset])
        preset = ["data.source=simulate", *(f"simulate.{key}={value}" for key, value in sizes.items())]
        if options.config is None:
            preset.append(f"run=runs/simulated-{options.preset}")
    elif options.config is None:
        raise InputError("CONFIG", "no config is given", "give a YAML file or --preset")
    return load_config(options.config, [*preset, *options.set, *more])


def _config(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    config = _load(options)
    say(resolved_yaml(config).rstrip("\n"))
    return config


def _check(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.data.checking.log_check import check_log
    from gensr_dist.data.checking.page import page

    config = _load(options)
    report = check_log(config.data, RunFolder.of(config).raw_log(config), full=options.full)
    for line in page(report):
        say(line)
    return report


def _compare(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.evaluation.significance import compare_runs

    comparison = compare_runs(options.first, options.second)
    for line in comparison.lines():
        say(line)
    return comparison


def _verify(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.stages.runner import verify_shards

    return verify_shards(options.shards, say)


def _replay(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.stages.runner import replay_run

    return replay_run(RunFolder(options.run), say)


def _doctor(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.doctor.checks import check_hosts

    config = _load(options) if options.config or options.preset else None
    report = check_hosts(config, options.hostfile)
    for line in report.lines():
        say(line)
    return report


def _answer(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.cli.answers import Question, answer

    question = Question(
        k=options.k,
        user=options.user,
        history=options.history,
        query=getattr(options, "query", None),
        only=options.only,
        exclude=options.exclude,
        explain=options.explain,
    )
    return answer(RunFolder(options.run), question, say)


def _answer_file(options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    from gensr_dist.cli.answers import answer_file

    if options.address and options.engine != "ray":
        raise InputError("--address", "the local engine has none", "add --engine ray")
    engine, address = options.engine, options.address
    return answer_file(
        RunFolder(options.run), options.users, options.out, options.k, say, engine=engine, address=address
    )


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="gensr", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=OneLineParser)

    def add(
        name: str, command: Callable[..., Any], summary: str, more: str, example: str, within: Any = commands
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = within.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.\n\n{more}",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command, name=name)
        added.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
        return added

    def add_config(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "config", metavar="CONFIG", nargs="?", type=Path, help="YAML file, e.g. configs/quickstart.yaml"
        )
        added.add_argument(
            "--preset",
            metavar="NAME",
            choices=tuple(PRESETS),
            help=f"sizes of the simulated log: {', '.join(PRESETS)} (KuaiSAR's full size); needs no CONFIG",
        )
        added.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="replace a setting, e.g. --set train.steps=100; repeatable; `gensr config` lists all keys",
        )

    def add_answer(added: argparse.ArgumentParser) -> None:
        added.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
        who = added.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", metavar="U", help="user id as in the raw log")
        who.add_argument(
            "--history",
            metavar="FILE",
            type=Path,
            help="item ids, one a line, oldest first, in place of a user; after a tab may follow search or both",
        )
        added.add_argument("--only", metavar="FILE", type=Path, help="answer only these items; ids, one a line")
        added.add_argument("--exclude", metavar="FILE", type=Path, help="never answer these items; ids, one a line")
        added.add_argument("--explain", action="store_true", help="say which channels and interactions are behind it")
        added.add_argument(
            "-k", metavar="K", type=integer(1, 100_000), default=10, help="number of answers (default 10)"
        )

    for name in STAGES:
        summary, more = STAGE_HELP[name]
        source = "simulate " if name == "prepare" else ""
        skipped = "It does nothing if its settings and inputs are those of its last finished run."
        example = f"gensr {name} {source}configs/quickstart.yaml"
        added = add(name, _run_stage, summary, f"{more}\n{skipped}", example)
        if name == "prepare":
            added.add_argument("source", metavar="SOURCE", choices=("simulate", "kuaisar", "amazon", "tables"))
            added.add_argument("--engine", choices=("local", "ray"), default="local", help="who does the work (local)")
            added.add_argument("--address", metavar="A", default="", help="of a running Ray cluster, e.g. auto")
            added.add_argument(
                "--workers",
                metavar="N",
                type=integer(1, 100_000),
                default=os.cpu_count(),
                help="processes of the local engine",
            )
        add_config(added)
    added = add(
        "check",
        _check,
        "read a raw log and say in one page what it is understood to hold",
        "Files and columns, first rows, times, counts, ids, texts, what `prepare` would drop, and what looks wrong.\n"
        "Nothing is written. Of large files a sample is read. A log that `prepare` refuses ends with its error.",
        "gensr check configs/mine.yaml",
    )
    add_config(added)
    added.add_argument("--full", action="store_true", help="read large files whole")
    add_config(
        add(
            "run",
            _run_all,
            "run every stage of a config, then show results and examples",
            "Stages whose settings and inputs are unchanged are skipped; an interrupted training goes on.",
            "gensr run configs/amazon_beauty.yaml --set data.raw=/data/amazon_beauty --set train.steps=5000",
        )
    )
    recommend = "answer what a user of a finished run may like next"
    example = "gensr recommend runs/quickstart --user 17 -k 10"
    add_answer(add("recommend", _answer, recommend, "Items come with their texts, best first.", example))
    search = "answer a query that a user of a finished run types"
    example = 'gensr search runs/quickstart --user 17 --query "red lipstick" -k 10'
    added = add("search", _answer, search, "Items come with their texts, best first.", example)
    added.add_argument("--query", metavar="TEXT", required=True, help="what the user types")
    add_answer(added)
    added = add(
        "answer",
        _answer_file,
        "answer all users of a file",
        "Columns user_id and, where something is typed, query; CSV or Parquet. The result has user_id, query, rank,\n"
        "item_id and score. The same command goes on where an earlier one was stopped.",
        "gensr answer runs/quickstart --users users.csv --out answers.parquet -k 10",
    )
    added.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    added.add_argument("--users", metavar="FILE", type=Path, required=True, help="CSV or Parquet file of who asks what")
    added.add_argument("--out", metavar="FILE", type=Path, required=True, help="Parquet file of the answers")
    added.add_argument("-k", metavar="K", type=integer(1, 100_000), default=10, help="answers a line (default 10)")
    added.add_argument("--engine", choices=("local", "ray"), default="local", help="who does the work (local)")
    added.add_argument("--address", metavar="A", default="", help="of a running Ray cluster, e.g. auto")
    added = add(
        "compare",
        _compare,
        "say whether one evaluated run is better than another on the same test rows",
        "NDCG@10 of GenSR in both and, of each task, the mean difference of the paired rows (first less second), its\n"
        "95% bootstrap interval, and the p-value of a two-sided sign-flip test.",
        "gensr compare runs/shared runs/joint",
    )
    added.add_argument("first", metavar="RUN_A", type=Path, help="folder of an evaluated run")
    added.add_argument("second", metavar="RUN_B", type=Path, help="another one, evaluated on the same rows")
    add(
        "verify",
        _verify,
        "check shards against their manifest",
        "Finds missing, extra, changed and reordered files. Exit code 2 names the first fault.",
        "gensr verify runs/quickstart/shards",
    ).add_argument("shards", metavar="SHARDS", help="folder or URL that holds manifest.json")
    summary = "measure this machine: ours against the plain way, and what failures cost"
    bench = commands.add_parser("bench", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    add_benches(partial(add, within=bench.add_subparsers(metavar="NAME", required=True, parser_class=OneLineParser)))
    added = add(
        "doctor",
        _doctor,
        "check machines before a training starts",
        "ssh, package versions, shards, free port, network, GPUs, disk, clocks, left locks, then an all-reduce.\n"
        "One line a node; exit code 2 and the remedies if something is wrong. Without --hostfile: this machine.",
        "gensr doctor configs/kuaisar.yaml --hostfile launch/hostfile",
    )
    add_config(added)
    added.add_argument("--hostfile", metavar="FILE", type=Path, help="a line `host slots=GPUS` for each machine")
    added = add(
        "replay",
        _replay,
        "do the micro-batch again that stopped a training with a loss or gradient that was not finite",
        "Names the first tensor that was not finite, in the order of computation, and the rows that gave it.",
        "gensr replay runs/quickstart",
    )
    added.add_argument("run", metavar="RUN", type=Path, help="folder of the stopped run")
    add_config(
        add(
            "config",
            _config,
            "print the resolved config: every key with its value",
            "A key that does not exist is an error that names the nearest one.",
            "gensr config configs/quickstart.yaml --set train.learning_rate=1e-3",
        )
    )
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
    with contextlib.suppress(OSError):  # of a terminal that is gone
        print(f"gensr: error: {message}", file=sys.stderr)
    return code


def _log_to_stderr() -> None:
    form = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, datefmt="%H:%M:%S")
    logging.getLogger("gensr_dist").setLevel(logging.INFO)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
