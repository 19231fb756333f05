"""Whether a training can start on these nodes: every node looked at by itself, compared with the first, then joined."""

import dataclasses
import json
import shutil
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gensr_dist.config.root import Config
from gensr_dist.doctor.hosts import Host, Problem, handed_on_variables, read_hostfile, run_module
from gensr_dist.doctor.probe import Findings, ProbeRequest, is_loopback
from gensr_dist.runs.folder import RunFolder

PORT = 29500  # deepspeed's and torchrun's
_MOST_SKEW = 5.0  # seconds; a busy node answers a second late
_LEAST_FREE_GPU = 0.8  # of a GPU's memory
_ANSWER_SECONDS, _JOIN_SECONDS = 60.0, 30.0  # that a node may take to answer, and to join the others
_INSTALL = "install the same environment on all nodes: launch/setup_environment.sh"


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """One node."""

    host: str
    problems: tuple[Problem, ...]
    findings: Findings | None  # None if it could not be asked
    clock_skew: float = 0.0  # seconds ahead of the first node, give or take a second


@dataclass(frozen=True, kw_only=True)
class AllReduceReport:
    """What joining all nodes gave."""

    backend: str
    ranks: int
    bytes: int = 0  # that each rank gave
    seconds: float = 0.0
    gigabytes_per_second: float = 0.0  # over each node's link: bytes * 2 (ranks - 1) / ranks / seconds
    problems: tuple[tuple[str, Problem], ...] = ()  # with the host


@dataclass(frozen=True, kw_only=True)
class DoctorReport:
    """All that was found."""

    ok: bool
    nodes: tuple[NodeReport, ...]
    all_reduce: AllReduceReport | None  # None if it was not tried: one node, or a node has a problem

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return 0 if self.ok else 2

    def lines(self) -> tuple[str, ...]:
        """One line a node, with more problems than one a line each; then the all-reduce."""
        rows = list[tuple[str, str, str]]()
        for node in self.nodes:
            if node.findings is not None and not node.problems:
                rows.append((node.host, "ok", _summary(node.findings, node.clock_skew)))
            rows.extend((node.host, "FAIL", str(problem)) for problem in node.problems)
        joined = self.all_reduce
        if joined is not None and not joined.problems:
            size, rate = joined.bytes / 2**20, joined.gigabytes_per_second
            text = f"{joined.backend}, {joined.ranks} nodes, {size:.0f} MiB in {joined.seconds:.3f} s, {rate:.2f} GB/s"
            rows.append(("all-reduce", "ok", text))
        elif joined is not None:
            rows.extend(("all-reduce", "FAIL", f"{host}: {problem}") for host, problem in joined.problems)
        elif len(self.nodes) > 1:
            rows.append(("all-reduce", "--", "not tried, since a node has a problem"))
        width = max(len(name) for name, _, _ in rows)
        return tuple(f"{name:<{width}}  {state:<4}  {text}" for name, state, text in rows)


def check_hosts(
    config: Config | None, hostfile: Path | None = None, *, port: int = PORT, least_disk: int = 5 * 10**9
) -> DoctorReport:
    """Look at all hosts at once over ssh, then let them sum numbers together if all are well.

    Args:
        config: of the run; without one neither shards nor run folder are looked at.
        hostfile: without one only this machine is looked at, without ssh.
        port: of the first node, on which the ranks will meet.
        least_disk: bytes that must be free where the run folder lies.

    Raises:
        InputError: the hostfile, `.deepspeed_env` or `data.shards` cannot be used.
    """
    hosts: tuple[Host | None, ...] = read_hostfile(hostfile) if hostfile else (None,)
    names = tuple(host.name if host else socket.gethostname() for host in hosts)
    variables = handed_on_variables() if hostfile else {}
    request = _probe_request(config)

    def probe(number: int) -> Findings | Problem:
        asked = dataclasses.replace(request, port=port if number == 0 else 0)
        content = json.dumps(dataclasses.asdict(asked))
        answers = run_module(hosts[number], ("--probe",), content, variables, _ANSWER_SECONDS)
        if isinstance(answers, Problem):
            return answers
        try:
            # The clock was read just before the answer came.
            findings = TypeAdapter(Findings).validate_json(answers[-1])
            return dataclasses.replace(findings, clock=findings.clock - time.time())
        except ValidationError as error:
            fault = error.errors()[0]["msg"]
            return Problem(f"another version of gensr_dist answers there ({fault})", _INSTALL)

    with ThreadPoolExecutor(min(len(hosts), 64)) as threads:
        found = list(threads.map(probe, range(len(hosts))))
    nodes = judge(hosts, names, found, request, port, least_disk)
    ok = not any(node.problems for node in nodes)
    joined = None
    if ok and len(hosts) > 1:
        joined = _all_reduce(hosts, names, [f for f in found if isinstance(f, Findings)], variables, port)
        ok = not joined.problems
    return DoctorReport(ok=ok, nodes=nodes, all_reduce=joined)


def _probe_request(config: Config | None) -> ProbeRequest:
    if config is None:
        return ProbeRequest()
    run = RunFolder.of(config, Path(config.run).absolute())
    return ProbeRequest(
        run=str(run.root), shards=run.shards.place, cache=config.data.cache, cache_gb=config.data.cache_gb
    )


def judge(
    hosts: Sequence[Host | None],
    names: Sequence[str],
    found: Sequence[Findings | Problem],
    request: ProbeRequest,
    port: int,
    least_disk: int,
) -> tuple[NodeReport, ...]:
    """Problems of every node; the first that answers is what the others are compared with."""
    answered = [number for number, findings in enumerate(found) if isinstance(findings, Findings)]
    everyone = [findings for findings in found if isinstance(findings, Findings)]
    nodes = []
    for host, name, findings in zip(hosts, names, found, strict=True):
        if isinstance(findings, Problem):
            nodes.append(NodeReport(host=name, problems=(findings,), findings=None))
            continue
        first, first_name = everyone[0], names[answered[0]]
        problems = [
            *_packages(findings, first, first_name),
            *_files(findings, first, first_name, request, least_disk),
            *_network(findings, everyone, port),
            *_gpus(findings, everyone, host),
            *_locks(findings, everyone),
        ]
        skew = findings.clock - first.clock
        if abs(skew) > _MOST_SKEW:
            ahead = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of {first_name}"
            problems.append(Problem(f"its clock is {ahead}", "start time synchronisation there: chrony or ntpd"))
        if name == names[0] and len(hosts) > 1 and shutil.which("pdsh") is None:
            problems.append(Problem("pdsh, which deepspeed starts hosts with, is not installed here", "install pdsh"))
        nodes.append(NodeReport(host=name, problems=tuple(problems), findings=findings, clock_skew=skew))
    return tuple(nodes)


def _packages(findings: Findings, first: Findings, first_name: str) -> list[Problem]:
    problems = []
    for package, version in findings.versions.items():
        if not version:
            problems.append(Problem(f"{package} is not installed", _INSTALL))
        elif version != first.versions[package]:
            expected = first.versions[package] or "missing"
            problems.append(Problem(f"{package} is {version}, on {first_name} {expected}", _INSTALL))
    return problems


def _files(
    findings: Findings, first: Findings, first_name: str, request: ProbeRequest, least_disk: int
) -> list[Problem]:
    problems = []
    if request.run and not findings.run_there:
        remedy = f"mount it there as on {first_name}" if first.run_there else "run `gensr prepare` and `lightgcn` first"
        problems.append(Problem(f"the run folder {request.run} is not there", remedy))
    elif request.run and not findings.run_writable:
        problems.append(Problem(f"the run folder {request.run} cannot be written to", "correct its permissions"))
    if findings.shards_problem is not None:
        problems.append(findings.shards_problem)
    elif first.shards and findings.shards != first.shards:
        remedy = f"copy the shard folder {request.shards} again from {first_name}"
        problems.append(Problem(f"its shards are others than those of {first_name}", remedy))
    if findings.disk_free < least_disk:
        free = f"{findings.disk_free / 1e9:.1f} GB are free where the run folder lies, less than {least_disk / 1e9:.1f}"
        problems.append(Problem(free, "free space or set `run` to another folder"))
    return problems


def _network(findings: Findings, everyone: Sequence[Findings], port: int) -> list[Problem]:
    problems = []
    if findings.port_problem:
        remedy = f"end what listens there: ss -ltnp 'sport = :{port}'"
        problems.append(Problem(f"port {port}, on which the ranks meet, is taken ({findings.port_problem})", remedy))
    alone = len({other.machine for other in everyone}) == 1  # loopback then leads everywhere
    name = "NCCL_SOCKET_IFNAME" if findings.gpus else "GLOO_SOCKET_IFNAME"
    set_it = f"set {name}=INTERFACE in .deepspeed_env"
    wanted = findings.variables.get(name, "")
    if wanted and not wanted.startswith("^"):  # that is nccl's "any but these"
        beginnings = tuple(wanted.removeprefix("=").split(","))
        usable = [i for i in findings.interfaces if i.up and i.addresses]
        chosen = [i for i in usable if i.name.startswith(beginnings)]
        if not chosen:
            there = ", ".join(i.name for i in usable)
            problems.append(Problem(f"{name} is {wanted}, which is no interface in use ({there})", set_it))
        elif not alone and all(is_loopback(address) for i in chosen for address in i.addresses):
            problems.append(Problem(f"{name} is {wanted}, where no other node reaches it", set_it))
    elif not alone and not findings.addresses:
        problems.append(Problem("it has no address but loopback", "bring its network up"))
    elif not alone and not findings.gpus and not set(findings.resolved) & set(findings.addresses):
        # gloo listens where the host's own name leads; nccl looks for an interface by itself.
        leads = f"its name {findings.hostname} leads to {', '.join(findings.resolved) or 'nowhere'}"
        problems.append(Problem(f"{leads}, where no other node reaches it", f"{set_it}, or correct its /etc/hosts"))
    return problems


def _gpus(findings: Findings, everyone: Sequence[Findings], host: Host | None) -> list[Problem]:
    problems = []
    if host is not None and any(other.gpus for other in everyone) and len(findings.gpus) < host.slots:
        found = f"torch sees {len(findings.gpus)} GPUs, the hostfile gives it {host.slots} slots"
        problems.append(Problem(found, "look at nvidia-smi and the driver there, or correct the hostfile"))
    for number, gpu in enumerate(findings.gpus[: host.slots if host else None]):
        if gpu.free < _LEAST_FREE_GPU * gpu.total:
            used = f"{(gpu.total - gpu.free) / 1e9:.0f} of {gpu.total / 1e9:.0f} GB of GPU {number} are in use"
            problems.append(Problem(used, "end what runs on it: nvidia-smi"))
    return problems


def _locks(findings: Findings, everyone: Sequence[Findings]) -> list[Problem]:
    # The folder may be shared: then another node may be building.
    held = {path for other in everyone for path in other.held_locks}
    return [
        Problem(f"{path} was left by a build that is gone, and every training waits for it", f"delete it: rm {path}")
        for path in findings.locks
        if path not in held
    ]


def _summary(findings: Findings, skew: float) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in findings.versions.items())
    kinds = dict.fromkeys(gpu.name for gpu in findings.gpus)
    gpus = f"{len(findings.gpus)} GPUs ({', '.join(kinds)})" if findings.gpus else "no GPU"
    memory, disk = findings.memory / 1e9, findings.disk_free / 1e9
    clock = f", clock {skew:+.1f} s" if round(skew, 1) else ""
    return f"{versions}, {gpus}, {memory:.0f} GB memory and {disk:.0f} GB disk free{clock}"


def _all_reduce(
    hosts: Sequence[Host | None],
    names: Sequence[str],
    found: Sequence[Findings],
    variables: dict[str, str],
    port: int,
) -> AllReduceReport:
    from gensr_dist.doctor.all_reduce import AllReduceAnswer, AllReduceRequest

    backend = "nccl" if all(findings.gpus for findings in found) else "gloo"
    address = next(iter(found[0].addresses), "127.0.0.1")

    def join(rank: int) -> AllReduceAnswer:
        request = AllReduceRequest(
            rank=rank, world=len(hosts), address=address, port=port, backend=backend, seconds=_JOIN_SECONDS
        )
        content = json.dumps(dataclasses.asdict(request))
        answers = run_module(hosts[rank], ("--all-reduce",), content, variables, _ANSWER_SECONDS + 2 * _JOIN_SECONDS)
        if isinstance(answers, Problem):
            return AllReduceAnswer(problem=answers)
        return TypeAdapter(AllReduceAnswer).validate_json(answers[-1])

    with ThreadPoolExecutor(len(hosts)) as threads:
        answers = list(threads.map(join, range(len(hosts))))
    problems = [(name, answer.problem) for name, answer in zip(names, answers, strict=True) if answer.problem]
    if len(problems) > 1:  # the first node's is that it waited for the others
        problems = [(name, problem) for name, problem in problems if name != names[0]]
    if problems:
        return AllReduceReport(backend=backend, ranks=len(hosts), problems=tuple(problems))
    size, slowest = answers[0].bytes, max(answer.seconds for answer in answers)
    rate = size * 2 * (len(hosts) - 1) / len(hosts) / slowest / 1e9
    return AllReduceReport(backend=backend, ranks=len(hosts), bytes=size, seconds=slowest, gigabytes_per_second=rate)
