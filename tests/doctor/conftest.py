"""Hosts that are this machine: a fake `ssh` runs the command here, in an environment of the host's own."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gensr_dist.bench.ports import free_port

# HOST.sh, if there, runs first and may change the environment of the command or end in its place.
SSH = """#!/usr/bin/env bash
while [ $# -gt 0 ]; do
    case $1 in
        -o) shift 2 ;;
        -*) echo "unknown option $1" >&2; exit 255 ;;
        *) break ;;
    esac
done
host=$1; shift
printf '%s\\n' "$host" >>"{root}/reached"
if [ -f "{root}/$host.sh" ]; then source "{root}/$host.sh"; fi
exec sh -c "$*"
"""


@dataclass(frozen=True)
class FakeHosts:
    """Two hosts, `one` and `two`."""

    root: Path
    port: int
    names: tuple[str, ...] = field(default=("one", "two"))

    @property
    def hostfile(self) -> Path:
        path = self.root / "hostfile"
        path.write_text("".join(f"{name} slots=1\n" for name in self.names))
        return path

    def on(self, host: str, script: str) -> None:
        """What happens on a host before the command."""
        (self.root / f"{host}.sh").write_text(script + "\n")

    def program(self, name: str, script: str) -> None:
        """Put a shell script into PATH."""
        path = self.root / "bin" / name
        path.write_text(script)
        path.chmod(0o755)

    def patch_python(self, host: str, code: str) -> None:
        """Run code in every Python of a host before anything else."""
        folder = self.root / f"python-{host}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        self.on(host, f'set -- env PYTHONPATH="{folder}" "$@"')


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHosts:
    fake = FakeHosts(tmp_path, free_port())
    (tmp_path / "bin").mkdir()
    fake.program("ssh", SSH.replace("{root}", str(tmp_path)))
    fake.program("pdsh", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    variables = tmp_path / "deepspeed_env"
    variables.write_text(f"OMP_NUM_THREADS=1\nTORCH_EXTENSIONS_DIR={tmp_path}/extensions\n")
    monkeypatch.setenv("DS_ENV_FILE", str(variables))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return fake
