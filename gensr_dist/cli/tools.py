"""Commands that look at a log, a config, shards, machines or finished runs."""

import argparse
from typing import Any

from gensr_dist.cli.arguments import local_path
from gensr_dist.cli.commands import Commands, add_config, load, told
from gensr_dist.config.explanation import explained_yaml
from gensr_dist.config.root import resolved_yaml
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.runner import Say
from gensr_dist.storage.home import at_home


def add_tools(commands: Commands) -> None:
    """Add them all."""
    added = commands.add(
        "check",
        _check,
        "read a raw log and say in one page what it is understood to hold",
        "Files and columns, first rows, times, counts, ids, texts, what `prepare` would drop, and what looks wrong.\n"
        "Nothing is written. Of large files a sample is read. A log that `prepare` refuses ends with its error.",
        "gensr check configs/mine.yaml",
    )
    add_config(added)
    added.add_argument("--full", action="store_true", help="read large files whole")
    added = commands.add(
        "compare",
        _compare,
        "say whether one evaluated run or baseline is better than another on the same test rows",
        "A folder is that of a run, whose GenSR is meant, or RUN/baselines/NAME. NDCG@10 of both and, of each task\n"
        "that both served, the mean difference of the paired rows (first minus second), its 95% bootstrap interval,\n"
        "and the p-value of a two-sided sign-flip test; both of users, whose rows are drawn and flipped together.",
        "gensr compare runs/shared runs/joint",
    )
    added.add_argument("first", metavar="RUN_A", type=local_path, help="folder of an evaluated run")
    added.add_argument("second", metavar="RUN_B", type=local_path, help="another one, evaluated on the same rows")
    commands.add(
        "verify",
        _verify,
        "check shards against their manifest",
        "Finds missing, extra, changed and reordered files. Exit code 2 names the first fault.",
        "gensr verify runs/quickstart/shards",
    ).add_argument("shards", metavar="SHARDS", type=at_home, help="folder or URL that holds manifest.json")
    added = commands.add(
        "doctor",
        _doctor,
        "check machines before a training starts",
        "ssh, package versions, shards, free port, network, GPUs, disk, clocks, stale locks, then an all-reduce.\n"
        "One line a node; exit code 2 and the remedies if something is wrong. Without --hostfile: this machine.",
        "gensr doctor configs/kuaisar.yaml --hostfile launch/hostfile",
    )
    add_config(added)
    added.add_argument("--hostfile", metavar="FILE", type=local_path, help="a line `host slots=GPUS` for each machine")
    added = commands.add(
        "replay",
        _replay,
        "do the micro-batch again that stopped a training with a loss or gradient that was not finite",
        "Names the first tensor that was not finite, in the order of computation, and the rows that gave it.",
        "gensr replay runs/quickstart",
    )
    added.add_argument("run", metavar="RUN", type=local_path, help="folder of the stopped run")
    added = commands.add(
        "config",
        _config,
        "print the resolved config: every key with its value",
        "A key that does not exist is an error that names the nearest one.",
        "gensr config configs/quickstart.yaml --set train.learning_rate=1e-3",
    )
    add_config(added)
    added.add_argument("--explain", action="store_true", help="also say what each key means and may be")


def _config(options: argparse.Namespace, say: Say) -> Any:
    config = load(options)
    say((explained_yaml if options.explain else resolved_yaml)(config).rstrip("\n"))
    return config


def _check(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.data.checking.log_check import check_log
    from gensr_dist.data.checking.page import page

    config = load(options)
    folder = RunFolder.of(config)
    report = check_log(config.data, folder.raw_log(config), full=options.full, shards=folder.shards)
    for line in page(report):
        say(line)
    return report


def _compare(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.evaluation.significance import compare_runs

    return told(compare_runs(options.first, options.second), say)


def _verify(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.data.config import DataConfig
    from gensr_dist.data.shards.verify import verify
    from gensr_dist.storage.cache import Cache
    from gensr_dist.storage.folder import Folder

    defaults = DataConfig()
    report = verify(Folder.at(options.shards, Cache.at(defaults.cache, defaults.cache_gb)))
    for line in report.lines():
        say(f"{options.shards}: {line}")
    return report


def _replay(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.train.replay import replay

    return told(replay(RunFolder(options.run)), say)


def _doctor(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.doctor.checks import check_hosts

    config = load(options) if options.config or options.preset else None
    return told(check_hosts(config, options.hostfile), say)
