import string
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gensr_dist.doctor.hosts import Host, Problem, handed_on_variables, read_hostfile, run_module
from gensr_dist.errors import InputError

NAMES = st.text(alphabet=string.ascii_letters + string.digits, min_size=1, max_size=12)
NOISE = st.sampled_from(["", "   ", "# host9 slots=4", "\t# a comment"])
once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def test_the_example_is_read() -> None:
    path = Path(__file__).parents[2] / "launch" / "hostfile.example"
    assert read_hostfile(path) == (Host("host0", 8), Host("host1", 8))


@given(st.lists(st.tuples(NAMES, st.integers(1, 9999), NOISE), min_size=1, max_size=6, unique_by=lambda row: row[0]))
@once
def test_hosts_come_back_in_order(tmp_path: Path, rows: list[tuple[str, int, str]]) -> None:
    path = tmp_path / "hostfile"
    path.write_text("".join(f"{noise}\n  {name} \t slots={slots} # note\n" for name, slots, noise in rows))
    assert read_hostfile(path) == tuple(Host(name, slots) for name, slots, _ in rows)


@given(st.text(max_size=80) | st.binary(max_size=80))
@once
def test_any_file_is_read_or_refused_with_its_place(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "hostfile"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    hosts, refused = tuple[Host, ...](), ""
    try:
        hosts = read_hostfile(path)
    except InputError as error:
        refused = str(error)
    assert bool(hosts) != bool(refused)
    assert not refused or refused.startswith(str(path))
    assert refused.isprintable()
    assert len({host.name for host in hosts}) == len(hosts)
    assert all(host.slots > 0 and not host.name.startswith("-") for host in hosts)


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        ("host0 slots=8\nhost1\n", ":2", "found 'host1'"),
        ("host0 slots=eight\n", ":1", "found 'host0 slots=eight'"),
        ("\n-oProxyCommand=x slots=1\n", ":2", "expected a host"),
        ("host0 slots=0\n", ":1", "no slot"),
        ("a slots=1\n# b\na slots=2\n", ":3", "already in line 1"),
        ("# nothing\n", "", "names no host"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, place: str, problem: str) -> None:
    path = tmp_path / "hostfile"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_hostfile(path)
    assert caught.value.where == f"{path}{place}"
    assert problem in caught.value.problem


def test_a_missing_hostfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_hostfile(tmp_path / "hostfile")


def test_variables_are_those_of_the_file_and_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "variables"
    path.write_text("GLOO_SOCKET_IFNAME=eth7\nA=b=c\n")
    monkeypatch.setenv("DS_ENV_FILE", str(path))
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("OTHER", "kept here")
    variables = handed_on_variables()
    assert variables["GLOO_SOCKET_IFNAME"] == "eth7"
    assert variables["A"] == "b=c"
    assert variables["PYTHONPATH"] == "/somewhere"
    assert "OTHER" not in variables
    path.write_text("GOOD=1\nbad\n")
    with pytest.raises(InputError) as caught:
        handed_on_variables()
    assert caught.value.where == f"{path}:2"


def test_values_reach_the_host_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass through a shell there."""
    place = tmp_path / "it's $HOME; `touch gone`"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path('/usr/bin')}:/bin")
    (tmp_path / "ssh").write_text('#!/bin/sh\nwhile [ "$1" = -o ]; do shift 2; done\nshift\nexec sh -c "$*"\n')
    (tmp_path / "ssh").chmod(0o755)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf \'{"%s" "%s"\\n\' "$PWD" "$VALUE"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    value = "a b'c\"$(touch gone)"
    assert run_module(Host("one", 1), (), "", {"VALUE": value}, 20) == (f'{{"{place}" "{value}"',)
    assert not list(tmp_path.rglob("gone"))


def test_a_problem_is_one_printable_line() -> None:
    assert str(Problem("a\nb\x1b[31m", "c")) == "a b [31m; c"
