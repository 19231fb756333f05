"""The hosts of a hostfile, and commands run on them as DeepSpeed's launcher runs them: over ssh, in the same folder."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gensr_dist.errors import InputError, printable
from gensr_dist.storage.home import at_home

# Without a dash in front, which ssh would take for an option.
_LINE = re.compile(r"(?P<host>[A-Za-z0-9_][\w.@:%-]*)[ \t]+slots=(?P<slots>\d{1,4})[ \t]*(#.*)?", re.ASCII)
_FORM = "write one host a line as `host slots=8`"

# DeepSpeed hands variables with these beginnings on to all hosts, and those of its file. MLFLOW's, too: passwords are
# among them, which a command line would show to all users, and nothing here needs them.
_HANDED_ON = ("PYTHON", "MV2", "UCX")

_CONNECT_SECONDS = 15
_SSH_OPTIONS = (
    *("-o", "BatchMode=yes"),
    *("-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
)
_SSH_FAILED, _NO_FOLDER, _NO_PROGRAM = 255, 125, 127  # exit codes of ssh, of `env -C`, of `env` again

_SSH_REMEDIES = (
    ("refused", "start sshd there and open its port"),
    ("no route", "switch it on and bring its network up"),
    ("timed out", "switch it on, bring its network up and open its ssh port"),
    ("permission denied", "add this machine's public key to ~/.ssh/authorized_keys there"),
    ("host key", "add the host's key to ~/.ssh/known_hosts: ssh-keyscan HOST"),
    ("resolve", "correct the name in the hostfile, or add it to ~/.ssh/config or /etc/hosts"),
)


@dataclass(frozen=True)
class Host:
    """One line of a hostfile."""

    name: str  # as ssh knows it
    slots: int  # ranks on it, one a GPU


@dataclass(frozen=True)
class Problem:
    """What is wrong with a node, and what to do about it; both without the final stop."""

    problem: str
    remedy: str

    def __str__(self) -> str:
        """One line, whatever a node has sent."""
        return printable(f"{self.problem}; {self.remedy}")


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """The hosts of a file as `launch/hostfile.example`: `host slots=8` a line, `#` begins a comment.

    Raises:
        InputError: it cannot be read, a line is of another form, a host is named twice or none is.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(path, f"the hostfile cannot be read ({reason})", "copy launch/hostfile.example") from None
    hosts, line_of = list[Host](), dict[str, int]()
    for number, line in enumerate(lines, start=1):
        where, text = f"{path}:{number}", line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise InputError(where, f"expected a host and its slots, found {text[:80]!r}", _FORM)
        host = Host(match["host"], int(match["slots"]))
        if host.slots == 0:
            raise InputError(where, f"{host.name} has no slot", "give it one or more, or delete the line")
        if host.name in line_of:
            raise InputError(where, f"{host.name} is already in line {line_of[host.name]}", "delete one of the lines")
        line_of[host.name] = number
        hosts.append(host)
    if not hosts:
        raise InputError(path, "it names no host", _FORM)
    return tuple(hosts)


def handed_on_variables() -> dict[str, str]:
    """The variables that DeepSpeed gives the ranks of every host: from `.deepspeed_env` here or in the home folder.

    Raises:
        InputError: a line of the file is not NAME=VALUE.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}
    name = os.environ.get("DS_ENV_FILE", ".deepspeed_env")
    home = at_home("~")
    for path in (Path(home) / name, Path(name)):
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            key, equals, value = line.partition("=")
            if not equals or not re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII):
                raise InputError(f"{path}:{number}", f"expected NAME=VALUE, found {line[:80]!r}", "correct the line")
            variables[key] = value
    return variables


def run_module(
    host: Host | None, options: tuple[str, ...], request: str, variables: Mapping[str, str], seconds: float
) -> tuple[str, ...] | Problem:
    """Run `python -m gensr_dist.doctor` on a host, with the interpreter and the folder of this process.

    Args:
        host: None is this machine, without ssh.
        options: of the module.
        request: for its stdin.
        variables: that its environment has besides the host's own.
        seconds: that it may take.

    Returns:
        The JSON objects that it printed, or why there are none.
    """
    module = (sys.executable, "-m", "gensr_dist.doctor", *options)
    settings = tuple(f"{name}={value}" for name, value in variables.items())
    # A connection that is lost leaves nothing running there: `timeout` ends it.
    command = ("env", "-C", str(Path.cwd()), *settings, "timeout", "--kill-after=5", f"{seconds:.0f}", *module)
    if host is not None:
        command = ("ssh", *_SSH_OPTIONS, host.name, shlex.join(command))
    try:
        code, printed, errors = _run(command, request, seconds + (_CONNECT_SECONDS if host is not None else 5))
    except FileNotFoundError:
        return Problem(f"{command[0]} is not installed on this machine", "install it; on Debian openssh-client")
    except subprocess.TimeoutExpired:
        code, printed, errors = 124, "", ""
    answers = tuple(line for line in printed.splitlines() if line.startswith("{"))
    if code == 0 and answers:
        return answers
    said = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"exit code {code}")
    if code == 124:
        name = host.name if host else "this machine"
        return Problem(f"no answer within {seconds:.0f} s", f"look for a hanging disk or network on {name}")
    if host is not None and code == _SSH_FAILED:
        remedies = (remedy for word, remedy in _SSH_REMEDIES if word in said.lower())
        remedy = next(remedies, "make `ssh HOST true` work without a password")
        return Problem(f"ssh cannot reach it ({said})", remedy.replace("HOST", host.name))
    if code == _NO_FOLDER:
        return Problem(f"this folder is not there ({said})", f"put the project at {Path.cwd()}, as on this machine")
    if code == _NO_PROGRAM:
        return Problem(f"this Python is not there ({said})", f"install the environment of {sys.executable} there")
    if "No module named" in said:
        return Problem(f"a package is missing ({said})", "install the environment there: launch/setup_environment.sh")
    return Problem(f"the check failed there ({said})", f"run it there by hand: {shlex.join(module)} </dev/null")


def _run(command: tuple[str, ...], text: str, seconds: float) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; when time is up, all that the command started is ended."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        errors="replace",
    ) as process:
        try:
            printed, errors = process.communicate(text, timeout=seconds)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed, errors
