"""TensorBoard event files of a run."""

from pathlib import Path


def forget_events(folder: Path) -> None:
    """Delete the event files of an earlier training, which would be drawn into the curves of the new one."""
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
