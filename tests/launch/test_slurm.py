"""launch/slurm.sbatch under a Slurm made of shell scripts: ranks, signals, and what goes back into the queue."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.launch.launch_folder import ENTRY_POINT, LaunchFolder, launch_folder
from tests.waiting import becomes

GIVEN = ["configs/my run.yaml", "--set", "train.zero_stage=2"]
JOB = {
    "SLURM_JOB_ID": 123456,
    "SLURM_JOB_NODELIST": "node[3-4]",
    "SLURM_NTASKS": 2,
    "SLURM_CPUS_PER_TASK": 5,
}

# Starts two tasks, passes signals to them, and ends with the highest exit code.
SRUN = r"""
while [[ $1 == --* ]]; do shift; done
tasks=()
for task in 0 1; do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & tasks+=($!)
done
for name in USR1 TERM; do trap "kill -s $name ${tasks[*]}; passed=yes" $name; done
highest=0
for task in "${tasks[@]}"; do
    while true; do
        passed=
        wait "$task"; code=$?
        [ -n "$passed" ] || break
    done
    [ $code -le $highest ] || highest=$code
done
exit $highest
"""
SCONTROL = r"""
if [ "$1 $2" = "show hostnames" ]; then printf 'node3\nnode4\n'; exit; fi
printf '%s\n' "$*" >>"$SLURM_SUBMIT_DIR/scontrol"
"""
# A rank that notes how it was started, and either ends with $CODE or trains until it is asked to save.
RANK = r"""
printf '%s\n' "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $SRUN_CPUS_PER_TASK" "$@" >"$SLURM_SUBMIT_DIR/rank$RANK"
for name in USR1 TERM; do trap "touch $SLURM_SUBMIT_DIR/saved$RANK.$name; exit 0" $name; done
[ -z "$CODE" ] || exit "$CODE"
touch "$SLURM_SUBMIT_DIR/trains$RANK"
while true; do sleep 0.05; done
"""


@pytest.fixture
def slurm(tmp_path: Path) -> LaunchFolder:
    folder = launch_folder(tmp_path)
    folder.program("srun", SRUN)
    folder.program("scontrol", SCONTROL)
    folder.program("python", RANK)
    return folder


def requeued(slurm: LaunchFolder) -> bool:
    path = slurm.root / "scontrol"
    if not path.exists():
        return False
    assert path.read_text() == "requeue 123456\n"
    return True


def job(slurm: LaunchFolder, code: int, **variables: object) -> int:
    """Run the batch script with ranks that end by themselves."""
    done = slurm.run("slurm.sbatch", *GIVEN, SLURM_SUBMIT_DIR=slurm.root, CODE=code, **JOB, **variables)
    return done.returncode


def signalled_job(slurm: LaunchFolder, number: signal.Signals) -> int:
    """Run the batch script with ranks that train, and send it a signal as Slurm would."""
    script = subprocess.Popen(
        ["bash", str(slurm.root / "launch" / "slurm.sbatch"), *GIVEN],
        env=slurm.variables(SLURM_SUBMIT_DIR=slurm.root, CODE="", **JOB),
        cwd=slurm.root,
    )
    try:
        assert becomes(lambda: all((slurm.root / f"trains{rank}").exists() for rank in (0, 1)))
        script.send_signal(number)
        return script.wait(timeout=200)
    finally:
        script.kill()


def test_each_task_is_a_rank_of_the_entry_point(slurm: LaunchFolder) -> None:
    assert job(slurm, 0) == 0
    for rank in (0, 1):
        place, *arguments = (slurm.root / f"rank{rank}").read_text().splitlines()
        assert place == f"{rank} {rank} 2 node3 5"
        assert arguments == ["-m", *ENTRY_POINT, *GIVEN]
    assert not requeued(slurm)


def test_before_the_time_limit_ranks_save_and_the_job_is_queued_again(slurm: LaunchFolder) -> None:
    assert signalled_job(slurm, signal.SIGUSR1) == 0
    assert all((slurm.root / f"saved{rank}.USR1").exists() for rank in (0, 1))
    assert requeued(slurm)


def test_a_cancelled_job_saves_and_stays_cancelled(slurm: LaunchFolder) -> None:
    signalled_job(slurm, signal.SIGTERM)
    assert all((slurm.root / f"saved{rank}.TERM").exists() for rank in (0, 1))
    assert not requeued(slurm)


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [(1, 0, True), (75, 2, True), (137, 0, True), (1, 3, False), (2, 0, False)],
)
def test_failures_are_queued_again_a_few_times_and_bad_input_never(
    slurm: LaunchFolder, code: int, restarts: int, again: bool
) -> None:
    ended = job(slurm, code, SLURM_RESTART_COUNT=restarts)
    assert requeued(slurm) == again
    assert ended == (0 if again else code)


def test_slurm_is_asked_for_a_signal_and_for_requeueing(slurm: LaunchFolder) -> None:
    text = (slurm.root / "launch" / "slurm.sbatch").read_text()
    options = re.findall(r"^#SBATCH (\S+)$", text, flags=re.MULTILINE)
    assert "--requeue" in options
    assert "--open-mode=append" in options
    (asked,) = [option for option in options if option.startswith("--signal=")]
    name, _, seconds = asked.removeprefix("--signal=B:").partition("@")
    assert name == "USR1"
    assert int(seconds) >= 60
