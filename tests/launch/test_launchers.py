"""Every launcher starts the same entry point with the options that it was given."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.launch.launch_folder import ENTRY_POINT, LAUNCH, LaunchFolder, launch_folder

SCRIPTS = sorted(path.name for path in LAUNCH.iterdir() if path.suffix in (".sh", ".sbatch"))
GIVEN = ["configs/my run.yaml", "--set", "train.zero_stage=2"]


@pytest.fixture
def folder(tmp_path: Path) -> LaunchFolder:
    return launch_folder(tmp_path)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse_and_say_how_they_are_used(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(LAUNCH / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    head = (LAUNCH / name).read_text().partition("\nset -")[0]
    assert name in head or name == "setup_environment.sh"


def test_deepspeed_starts_training_on_the_hosts_and_notices_when_one_is_gone(folder: LaunchFolder) -> None:
    folder.recorder("deepspeed")
    assert folder.run("deepspeed.sh", *GIVEN, HOSTFILE="my hosts").returncode == 0
    assert folder.arguments("deepspeed") == ["--hostfile", "my hosts", "--module", *ENTRY_POINT, *GIVEN]
    options = folder.environment("deepspeed")["PDSH_SSH_ARGS_APPEND"]
    assert "ServerAliveInterval=" in options
    assert "ServerAliveCountMax=" in options

    folder.run("deepspeed.sh", *GIVEN, PDSH_SSH_ARGS_APPEND="-p 2222")
    assert folder.arguments("deepspeed") == ["--module", *ENTRY_POINT, *GIVEN]
    assert folder.environment("deepspeed")["PDSH_SSH_ARGS_APPEND"].startswith("-p 2222 ")


def test_torchrun_restarts_on_one_machine_and_on_several(folder: LaunchFolder) -> None:
    folder.recorder("torchrun")
    assert folder.run("torchrun.sh", *GIVEN, RANKS=2).returncode == 0
    rest = ["--nproc-per-node", "2", "--max-restarts", "3", "-m", *ENTRY_POINT, *GIVEN]
    assert folder.arguments("torchrun") == ["--standalone", *rest]
    assert folder.environment("torchrun")["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"

    folder.run("torchrun.sh", *GIVEN, RANKS=8, NODES=3, MASTER_ADDR="host0", RESTARTS=7)
    meeting = ["--nnodes", "3", "--rdzv-backend", "c10d", "--rdzv-endpoint", "host0:29500", "--rdzv-id", "gensr"]
    rest = ["--nproc-per-node", "8", "--max-restarts", "7", "-m", *ENTRY_POINT, *GIVEN]
    assert folder.arguments("torchrun") == [*meeting, *rest]

    refused = folder.run("torchrun.sh", *GIVEN, RANKS=8, NODES=3)
    assert refused.returncode != 0
    assert "MASTER_ADDR" in refused.stderr


def test_kubernetes_pods_start_torchrun_together(folder: LaunchFolder) -> None:
    manifest = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] > 0
    (group,) = manifest["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert all(isinstance(value, str) for value in variables.values())
    assert job["parallelism"] == job["completions"] == int(variables["NODES"])
    assert job["backoffLimit"] == 0
    # JobSet names pods JOBSET-GROUP-JOB-INDEX, in a headless service of the JobSet's name.
    name = manifest["metadata"]["name"]
    assert variables["MASTER_ADDR"] == f"{name}-{group['name']}-0-0.{name}"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}

    folder.recorder("torchrun")
    script = container["command"][1].removeprefix("launch/")
    assert container["command"] == ["bash", f"launch/{script}"]
    ranks = container["resources"]["limits"]["nvidia.com/gpu"]
    assert folder.run(script, *container["args"], RANKS=ranks, **variables).returncode == 0
    arguments = folder.arguments("torchrun")
    assert arguments[-len(container["args"]) - 3 :] == ["-m", *ENTRY_POINT, *container["args"]]
    assert f"{variables['MASTER_ADDR']}:29500" in arguments
    # Training may take as long for its checkpoint after SIGTERM as Kubernetes waits, and not longer.
    shutdown = int(folder.environment("torchrun")["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    assert shutdown < pod["terminationGracePeriodSeconds"]
