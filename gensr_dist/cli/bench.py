"""`gensr bench NAME`: arguments of the benchmarks. Their own code is imported only when they run."""

import argparse
import dataclasses
from typing import Any

from gensr_dist.cli.arguments import integer, local_path
from gensr_dist.cli.commands import Commands, told
from gensr_dist.data.presets import PRESETS
from gensr_dist.stages.runner import Say


def add_benches(commands: Commands) -> None:
    """Add every benchmark to the command line."""
    add = commands.add
    added = add(
        "data",
        _data,
        "simulate and prepare a log, then read batches",
        "Seconds and peak memory of both stages, bytes an event, and candidates/s of the loader on one core beside a\n"
        "WebDataset of one sample a row that is decoded in Python.",
        "gensr bench data --preset kuaisar --json",
    )
    added.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="size of the log (default tiny)")
    added.add_argument(
        "--folder", metavar="DIR", type=local_path, help="keep the log and the shards there; else deleted"
    )

    added = add(
        "lightgcn",
        _lightgcn,
        "seconds a step of LightGCN: PyG's edge_index, ours on one rank and on two",
        "The graph is random. --ours leaves stock PyG out, whose memory large graphs do not fit.",
        "gensr bench lightgcn --json",
    )
    count = integer(100, 10**10)
    added.add_argument("--nodes", metavar="N", type=count, default=100_000, help="users and items (default 100,000)")
    added.add_argument("--users", metavar="N", type=integer(1, 10**9), help="users among the nodes (default half)")
    added.add_argument("--edges", metavar="N", type=count, default=1_000_000, help="(default 1,000,000)")
    added.add_argument(
        "--rounds", metavar="N", type=integer(1, 1_000), default=5, help="rounds of each variant (default 5)"
    )
    added.add_argument("--ours", action="store_true", help="do not measure stock PyG")

    added = add(
        "step",
        _step,
        "training steps of GenSR: ours against transformers' T5 as it is, one padded prompt a candidate",
        "Same weights, same batches, each variant in a process of its own, interleaved. Batches are made up, with\n"
        "lengths as in Amazon Beauty. Prints candidates/s, operations, memory, model FLOP/s utilisation and the time\n"
        "that each part takes.",
        "gensr bench step --backbone small --json",
    )
    _add_model_arguments(added)

    added = add(
        "score",
        _score,
        "candidates that GenSR scores a second: ours against transformers' T5 as it is",
        "As `gensr bench step`, without gradients.",
        "gensr bench score --backbone small --candidates 100 --json",
    )
    added.add_argument("--candidates", metavar="N", type=integer(1, 10_000), default=100, help="(default 100)")
    _add_model_arguments(added)

    added = add(
        "answer",
        _answer,
        "milliseconds that a user waits for an answer of a finished run, and where they go",
        "Answers test rows of both tasks one at a time, in this process.",
        "gensr bench answer runs/quickstart --json",
    )
    added.add_argument("run", metavar="RUN", type=local_path, help="folder of a finished run")
    added.add_argument(
        "--answers", metavar="N", type=integer(1, 100_000), default=300, help="answers per task (default 300)"
    )

    added = add(
        "kernels",
        _kernels,
        "fused operations against unfused ones and against the memory's bandwidth",
        "On a GPU the Triton programs in bf16 and fp32, else the torch path.",
        "gensr bench kernels --csv gensr_dist/kernels/benchmarks.csv --json",
    )
    added.add_argument(
        "--rounds", metavar="N", type=integer(2, 10_000), default=41, help="rounds of each operation (default 41)"
    )
    added.add_argument("--csv", metavar="FILE", type=local_path, help="add the rows to it")

    added = add(
        "scorings",
        _scorings,
        "quality of shared-context and joint scoring",
        "Trains and evaluates both from the same shards, CF vectors and seeds.",
        "gensr bench scorings configs/amazon_beauty.yaml --set data.raw=/data/amazon_beauty --json",
    )
    added.add_argument("config", metavar="CONFIG", type=local_path, help="config of the runs")
    added.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="replace a setting; repeatable")
    added.add_argument("--seeds", metavar="N", type=integer(1, 100), default=3, help="trainings of each (default 3)")
    added.add_argument(
        "--shared-steps",
        metavar="N",
        type=integer(1, 1_000_000_000),
        help="steps of shared scoring (default: as joint's)",
    )
    added.add_argument(
        "--at-once", metavar="N", type=integer(1, 64), default=2, help="commands side by side (default 2)"
    )
    added.add_argument(
        "--folder", metavar="DIR", type=local_path, help="keep the runs there, and go on with finished ones"
    )

    added = add(
        "resume",
        _resume,
        "kill a training at random moments, also while it saves and validates, and start it again",
        "Compares the final parameters with those of a run that nobody killed, and counts rows lost and repeated.",
        "gensr bench resume --kills 20 --json",
    )
    added.add_argument("--kills", metavar="N", type=integer(1, 1_000), default=20, help="SIGKILLs (default 20)")
    added.add_argument("--ranks", metavar="N", type=integer(1, 64), default=1, help="processes (default 1)")

    added = add(
        "reshape",
        _reshape,
        "resume checkpoints on other numbers of ranks and at other ZeRO stages",
        "Compares the losses with those of one rank without ZeRO.",
        "gensr bench reshape --json",
    )
    added.add_argument("--full", action="store_true", help="every pair of layouts instead of a covering set")


def _add_model_arguments(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--backbone",
        metavar="NAME",
        default="small",
        help="nano, mini, small (also flan-t5-small) or flan-t5-base, with random weights (default small)",
    )
    added.add_argument(
        "--history", choices=("tokens", "pooled"), default="tokens", help="semantic history (default tokens)"
    )
    groups = integer(1, 100_000)
    added.add_argument("--groups", metavar="N", type=groups, help="groups per batch (default: by device)")
    added.add_argument(
        "--our-groups", metavar="N", type=groups, help="groups per batch of ours (default: by device, or N of --groups)"
    )
    added.add_argument("--full-histories", action="store_true", help="no padding in histories and titles")
    added.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 on a GPU (default fp32)")
    added.add_argument("--compile", action="store_true", help="ours with its T5 blocks under torch.compile")
    added.add_argument(
        "--rounds", metavar="N", type=integer(1, 1_000), default=5, help="rounds of each variant (default 5)"
    )
    added.add_argument(
        "--profile", metavar="DIR", type=local_path, help="write a trace for TensorBoard or Perfetto there"
    )


def _step(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.speed import STEP_CANDIDATES, STEP_GROUPS

    return _speed(options, say, STEP_GROUPS.of(options.groups, options.our_groups), STEP_CANDIDATES, training=True)


def _score(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.speed import SCORE_GROUPS

    return _speed(options, say, SCORE_GROUPS.of(options.groups, options.our_groups), options.candidates, training=False)


def _speed(options: argparse.Namespace, say: Say, groups: tuple[int, int], candidates: int, training: bool) -> Any:
    from gensr_dist.bench.speed import bench_speed
    from gensr_dist.bench.workload import SpeedSetting

    setting = SpeedSetting(
        backbone=options.backbone,
        history=options.history,
        lengths="full" if options.full_histories else "log",
        groups=groups[0],
        our_groups=groups[1],
        candidates=candidates,
        precision=options.precision,
        compiled=options.compile,
    )
    result = bench_speed(setting, training=training, rounds=options.rounds, profile=options.profile)
    return _said(result.flat(), say)


def _answer(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.answer import bench_answer

    return told(bench_answer(options.run, options.answers), say)


def _kernels(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.kernels import bench_kernels

    return told(bench_kernels(rounds=options.rounds, csv_file=options.csv), say)


def _scorings(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.scorings import bench_scorings

    keys = ("seeds", "shared_steps", "at_once", "folder")
    named = {key: getattr(options, key) for key in keys}
    return told(bench_scorings(options.config, options.set, **named), say)


def _data(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.data import bench_data

    return _said(bench_data(options.preset, options.folder), say)


def _lightgcn(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.lightgcn import GraphSize, bench_lightgcn

    users = options.nodes // 2 if options.users is None else options.users
    size = GraphSize(users=users, items=options.nodes - users, edges=options.edges)
    return _said(bench_lightgcn(size, rounds=options.rounds, stock=not options.ours), say)


def _resume(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.resume import bench_resume

    return _said(bench_resume(options.kills, options.ranks), say)


def _reshape(options: argparse.Namespace, say: Say) -> Any:
    from gensr_dist.bench.reshape import all_cases, bench_reshape, covering_cases

    return _said(bench_reshape(all_cases() if options.full else covering_cases()), say)


def _said(result: Any, say: Say) -> Any:
    """Print a line a key."""
    for key, value in (result if isinstance(result, dict) else dataclasses.asdict(result)).items():
        say(f"{key:<24} {value:,.4g}" if isinstance(value, float) else f"{key:<24} {value}")
    return result
