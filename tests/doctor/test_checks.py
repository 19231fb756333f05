"""Whole checks over a fake ssh, then judgements of nodes that are made up."""

import dataclasses
import socket
import sys
from pathlib import Path

import pytest

from gensr_dist.config.root import Config
from gensr_dist.doctor import checks
from gensr_dist.doctor.checks import check_hosts, judge
from gensr_dist.doctor.hosts import Host, Problem, run_module
from gensr_dist.doctor.probe import Findings, Gpu, Interface, ProbeRequest, look
from gensr_dist.runs.folder import RunFolder
from tests.doctor.conftest import FakeHosts
from tests.waiting import becomes, has_ended

METADATA = "import importlib.metadata as m, types\nreal = m.distributions\n"


def test_two_good_hosts_pass_and_sum_together(hosts: FakeHosts, small_run: RunFolder) -> None:
    report = check_hosts(Config(run=str(small_run.root)), hosts.hostfile, port=hosts.port, least_disk=1)
    first, second, joined = report.lines()
    assert report.ok, report.lines()
    assert report.exit_code == 0
    assert first.startswith("one         ok    python ")
    assert second.startswith("two         ok    python ")
    assert joined.startswith("all-reduce  ok    gloo, 2 nodes, 16 MiB in ")
    assert report.all_reduce is not None
    assert report.all_reduce.gigabytes_per_second > 0
    assert all(node.findings is not None and len(node.findings.shards) == 16 for node in report.nodes)


def test_each_bad_host_has_its_own_line(hosts: FakeHosts) -> None:
    bad = {
        "refused": "ssh cannot reach it (ssh: connect to host refused port 22: Connection refused); start sshd there",
        "off": "ssh cannot reach it (ssh: connect to host off port 22: No route to host); switch it on",
        "silent": "ssh cannot reach it (ssh: connect to host silent port 22: Connection timed out); switch it on",
        "denied": "ssh cannot reach it (root@denied: Permission denied (publickey).); add this machine's public key",
        "unknown": "ssh cannot reach it (Host key verification failed.); add the host's key to ~/.ssh/known_hosts: "
        "ssh-keyscan unknown",
        "unnamed": "ssh cannot reach it (ssh: Could not resolve hostname unnamed: no); correct the name in the host",
        "odd": "ssh cannot reach it (exit code 255); make `ssh odd true` work without a password",
        "bare": "this Python is not there (",
        "elsewhere": "this folder is not there (",
        "empty": "a package is missing (",
        "crashes": "the check failed there (it broke)",
        "newer": "transformers is 99.1, on one ",
        "lacking": "deepspeed is not installed; install the same environment",
        "ahead": " s ahead of that of one; start time synchronisation there: chrony or ntpd",
        "behind": " s behind that of one; start time synchronisation there: chrony or ntpd",
        "locked": "stale/op/lock was left by a build that is gone, and every training waits for it; delete it: rm ",
    }
    for host, said in (
        ("refused", "ssh: connect to host refused port 22: Connection refused"),
        ("off", "ssh: connect to host off port 22: No route to host"),
        ("silent", "ssh: connect to host silent port 22: Connection timed out"),
        ("denied", "root@denied: Permission denied (publickey)."),
        ("unknown", "Host key verification failed."),
        ("unnamed", "ssh: Could not resolve hostname unnamed: no"),
        ("odd", ""),
    ):
        hosts.on(host, f"echo '{said}' >&2; exit 255")
    hosts.on("bare", f'set -- "${{*//{sys.executable.replace("/", chr(92) + "/")}/no-python}}"')
    hosts.on("elsewhere", f'set -- "${{*//-C {str(Path.cwd()).replace("/", chr(92) + "/")}/-C /nowhere}}"')
    hosts.on("empty", "echo 'python: No module named gensr_dist' >&2; exit 1")
    hosts.on("crashes", "echo 'it broke' >&2; exit 1")
    other = "m.distributions = lambda **k: iter({}) if k.get('name') == '{}' else real(**k)\n"
    hosts.patch_python("newer", METADATA + other.format("[types.SimpleNamespace(version='99.1')]", "transformers"))
    hosts.patch_python("lacking", METADATA + other.format("[]", "deepspeed"))
    hosts.patch_python("ahead", "import time\nreal = time.time\ntime.time = lambda: real() + 1_000_000\n")
    hosts.patch_python("behind", "import time\nreal = time.time\ntime.time = lambda: real() - 1_000_000\n")
    stale = hosts.root / "stale" / "op" / "lock"
    stale.parent.mkdir(parents=True)
    stale.touch()
    hosts.patch_python("locked", f"import os\nos.environ['TORCH_EXTENSIONS_DIR'] = {str(stale.parents[1])!r}\n")
    everyone = dataclasses.replace(hosts, names=("one", *bad, "good"))

    with socket.socket() as taken:
        taken.bind(("", hosts.port))
        taken.listen()
        report = check_hosts(None, everyone.hostfile, port=hosts.port, least_disk=1)

    assert report.exit_code == 2
    problems = {node.host: [str(problem) for problem in node.problems] for node in report.nodes}
    assert list(problems) == list(everyone.names)
    port = f"port {hosts.port}, on which the ranks meet, is taken (Address already in use); end what listens there"
    for host, expected in {"one": port, **bad}.items():
        (found,) = problems[host]
        assert expected in found
    assert problems["good"] == []
    assert report.all_reduce is None
    lines = report.lines()
    assert len(lines) == len(everyone.names) + 1
    assert [line.split()[:2] for line in lines[:-1]] == [
        [host, "ok" if host == "good" else "FAIL"] for host in everyone.names
    ]
    assert lines[-1].split(maxsplit=2) == ["all-reduce", "--", "not tried, since a node has a problem"]


def test_a_host_that_hangs_is_given_up_with_all_that_was_started(
    hosts: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gensr_dist.doctor.hosts._CONNECT_SECONDS", 1)
    hosts.on("two", f'sleep 987 & echo $! >"{hosts.root}/sleeper"; wait')
    answer = run_module(Host("two", 1), ("--probe",), "{}", {}, 1)
    assert isinstance(answer, Problem)
    assert str(answer) == "no answer within 1 s; look for a hanging disk or network on two"
    sleeper = int((hosts.root / "sleeper").read_text())
    assert becomes(lambda: has_ended(sleeper))


def test_a_command_that_hangs_there_is_ended_there(hosts: FakeHosts) -> None:
    hosts.patch_python("two", "import time\ntime.sleep(987)\n")
    answer = run_module(Host("two", 1), ("--probe",), "{}", {}, 1)
    assert isinstance(answer, Problem)
    assert answer.problem == "no answer within 1 s"


def test_a_host_that_fails_in_the_all_reduce_is_named(hosts: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_JOIN_SECONDS", 3.0)
    hosts.on("two", 'case "$*" in *--all-reduce*) echo "no memory" >&2; exit 1 ;; esac')
    report = check_hosts(None, hosts.hostfile, port=hosts.port, least_disk=1)
    assert report.exit_code == 2
    *_, last = report.lines()
    assert last.startswith("all-reduce  FAIL  two: the check failed there (no memory); run it there by hand: ")


def test_this_machine_alone_needs_no_ssh(hosts: FakeHosts, tmp_path: Path) -> None:
    config = Config(run=str(tmp_path / "none"))
    report = check_hosts(config, None, port=hosts.port, least_disk=1 << 62)
    assert not (hosts.root / "reached").exists()
    assert report.all_reduce is None
    lines = report.lines()
    assert len(lines) == 3
    assert f"the run folder {tmp_path}/none is not there; run `gensr prepare` and `lightgcn` first" in lines[0]
    assert "manifest.json: the file does not exist; run `gensr prepare` first" in lines[1]
    assert "GB are free where the run folder lies, less than 4611686018.4; free space or set `run`" in lines[2]


def test_without_pdsh_deepspeed_starts_no_host(hosts: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    first, second = judge(
        (Host("one", 1), Host("two", 1)), ("one", "two"), (look(ProbeRequest()),) * 2, ProbeRequest(), 1, 1
    )
    assert [problem.remedy for problem in first.problems] == ["install pdsh"]
    assert not second.problems


# ---------------------------------------------------------------- made up

LOOPBACK = Interface(name="lo", up=True, addresses=("127.0.0.1", "::1"))
GPU = Gpu(name="H100", total=80 * 10**9, free=79 * 10**9)


def node(number: int, **changes: object) -> Findings:
    """A good node of two machines."""
    address = f"10.0.0.{number}"
    return dataclasses.replace(
        Findings(
            hostname=f"node{number}",
            machine=f"machine {number}",
            clock=0.0,
            versions={"python": "3.11.7", "torch": "2.13.0"},
            addresses=(address,),
            resolved=(address,),
            interfaces=(LOOPBACK, Interface(name="eth0", up=True, addresses=(address,))),
            variables={},
            gpus=(),
            memory=10**9,
            disk_free=10**12,
            port_problem="",
            run_there=True,
            run_writable=True,
            shards="0123",
            shards_problem=None,
            locks=(),
            held_locks=(),
        ),
        **changes,  # type: ignore[arg-type]
    )


def problems_of(first: Findings, second: Findings) -> list[list[str]]:
    hosts = (Host("host1", 2), Host("host2", 2))
    request = ProbeRequest(run="/runs/a", shards="/runs/a/shards")
    return [
        [str(problem) for problem in report.problems if "pdsh" not in problem.problem]
        for report in judge(hosts, ("host1", "host2"), (first, second), request, 29500, 10**9)
    ]


def test_good_nodes_have_no_problem() -> None:
    assert problems_of(node(1), node(2)) == [[], []]
    assert problems_of(node(1, gpus=(GPU, GPU)), node(2, gpus=(GPU, GPU), resolved=())) == [[], []]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"run_there": False}, "the run folder /runs/a is not there; mount it there as on host1"),
        ({"run_writable": False}, "the run folder /runs/a cannot be written to; correct its permissions"),
        ({"shards": "4567"}, "its shards are others than those of host1; copy the shard folder /runs/a/shards again"),
        ({"shards_problem": Problem("no shard", "copy it")}, "no shard; copy it"),
        ({"disk_free": 5 * 10**8}, "0.5 GB are free where the run folder lies, less than 1.0; free space"),
        ({"resolved": ("127.0.1.1",)}, "its name node2 leads to 127.0.1.1, where no other node reaches it; set GLOO_S"),
        ({"resolved": ()}, "its name node2 leads to nowhere, where no other node reaches it; set GLOO_SOCKET_IFNAME="),
        ({"resolved": ("10.9.9.9",)}, "its name node2 leads to 10.9.9.9, where no other node reaches it"),
        ({"addresses": (), "resolved": ()}, "it has no address but loopback; bring its network up"),
        ({"variables": {"GLOO_SOCKET_IFNAME": "ib0"}}, "GLOO_SOCKET_IFNAME is ib0, which is no interface in use (lo, "),
        ({"variables": {"GLOO_SOCKET_IFNAME": "lo"}}, "GLOO_SOCKET_IFNAME is lo, where no other node reaches it; set "),
        ({"clock": 6.0}, "its clock is 6 s ahead of that of host1"),
        ({"locks": ("/x/lock",)}, "/x/lock was left by a build that is gone"),
        ({"versions": {"python": "3.12.1", "torch": "2.13.0"}}, "python is 3.12.1, on host1 3.11.7; install the same"),
    ],
)
def test_one_difference_is_one_problem_of_its_node(changes: dict[str, object], expected: str) -> None:
    first, second = problems_of(node(1), node(2, **changes))
    assert first == []
    assert len(second) == 1
    assert second[0].startswith(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"resolved": ("127.0.1.1",), "variables": {"GLOO_SOCKET_IFNAME": "eth0"}},
        {"clock": -4.0},
        {"disk_free": 10**9},
    ],
)
def test_what_does_no_harm_is_no_problem(changes: dict[str, object]) -> None:
    assert problems_of(node(1), node(2, **changes)) == [[], []]


def test_gpus_must_be_as_many_as_slots_and_free() -> None:
    busy = dataclasses.replace(GPU, free=20 * 10**9)
    first, second = problems_of(node(1, gpus=(GPU, busy, busy)), node(2, gpus=(GPU,)))
    assert first == ["60 of 80 GB of GPU 1 are in use; end what runs on it: nvidia-smi"]
    assert len(second) == 1
    assert second[0].startswith("torch sees 1 GPUs, the hostfile gives it 2 slots; look at nvidia-smi")


def test_a_lock_that_another_node_holds_is_not_left() -> None:
    assert problems_of(node(1, held_locks=("/shared/lock",)), node(2, locks=("/shared/lock",))) == [[], []]


def test_nothing_a_node_sends_reaches_the_terminal_raw() -> None:
    evil = node(2, shards_problem=Problem("\x1b[2Jgone\nhost9  ok", "none"))
    assert problems_of(node(1), evil)[1] == [" [2Jgone host9  ok; none"]
