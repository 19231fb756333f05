import torch

from gensr_dist.processes import join_processes
from gensr_dist.train.objective import FiniteWatch, StepLosses


def losses(task: float, contrastive: float) -> StepLosses:
    return StepLosses(torch.tensor(task), torch.tensor(contrastive))


def test_total_is_equation_8() -> None:
    assert losses(2.0, 3.0).to_minimise(0.5).item() == 3.5


def test_micro_batches_average_to_the_step() -> None:
    join_processes()
    summed = losses(2.0, 8.0) + losses(4.0, 2.0)
    assert summed.of_all_ranks(world=1, accumulation=2) == (3.0, 5.0)


def test_watch_names_the_first_step_that_went_wrong() -> None:
    join_processes()
    watch = FiniteWatch(torch.device("cpu"))
    watch.see(losses(1.0, 1.0), 0)
    assert watch.first_bad_step() is None
    watch.see(losses(1.0, float("inf")), 4)
    watch.see(losses(float("nan"), 1.0), 5)
    watch.see(losses(1.0, 1.0), 6)
    assert watch.first_bad_step() == 4
