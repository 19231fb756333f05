"""A copy of `launch/` whose launchers, schedulers and Python write down what they were called with."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch"
ENTRY_POINT = ("gensr_dist", "train")
INHERITED = ("PATH", "HOME", "LANG")


@dataclass(frozen=True)
class LaunchFolder:
    """The project as the scripts see it: no virtual environment, and programs of ours in PATH."""

    root: Path

    def program(self, name: str, script: str) -> None:
        """Put a shell script into PATH."""
        path = self.root / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)

    def recorder(self, name: str) -> None:
        """Put a program into PATH that writes down its arguments, one a line, and the variables of its ranks."""
        self.program(
            name,
            f'printf "%s\\n" "$@" >"{self.root}/{name}.arguments"\nenv >"{self.root}/{name}.environment"',
        )

    def arguments(self, name: str) -> list[str]:
        """What the recorder was called with."""
        return (self.root / f"{name}.arguments").read_text().splitlines()

    def environment(self, name: str) -> dict[str, str]:
        """The variables that the recorder had."""
        lines = (self.root / f"{name}.environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def variables(self, **more: object) -> dict[str, str]:
        """A small environment with our programs first."""
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {**kept, "PATH": f"{self.root}/bin:{kept['PATH']}", **{name: str(value) for name, value in more.items()}}

    def run(self, script: str, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """Run a script of launch/ to its end."""
        return subprocess.run(
            ["bash", str(self.root / "launch" / script), *arguments],
            env=self.variables(**variables),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


def launch_folder(root: Path) -> LaunchFolder:
    """Copy launch/ to `root`."""
    shutil.copytree(LAUNCH, root / "launch")
    (root / "bin").mkdir()
    return LaunchFolder(root)
