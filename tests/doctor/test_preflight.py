from pathlib import Path

from tests.launch.launch_folder import launch_folder


def test_preflight_hands_hosts_and_options_on_and_its_exit_code_back(tmp_path: Path) -> None:
    folder = launch_folder(tmp_path)
    folder.recorder("gensr")
    given = ["configs/my run.yaml", "--json"]
    assert folder.run("preflight", *given, HOSTFILE="my hosts").returncode == 0
    assert folder.arguments("gensr") == ["doctor", *given, "--hostfile", "my hosts"]
    assert folder.run("preflight", *given).returncode == 0
    assert folder.arguments("gensr") == ["doctor", *given]
    folder.program("gensr", "exit 2")
    assert folder.run("preflight").returncode == 2
