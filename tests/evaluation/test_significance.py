import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.cli.main import main
from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TAILS, ndcg_gain
from gensr_dist.evaluation.significance import (
    PairedTest,
    compare_runs,
    load_ranks,
    paired_gains,
    paired_test,
    save_ranks,
)
from gensr_dist.storage.records import write_json


def test_equal_scorers_do_not_differ() -> None:
    rank_R = np.random.default_rng(0).integers(1, 101, size=300)
    test = paired_test(rank_R, rank_R, np.arange(300) // 3, resamples=200, seed=0)
    assert (test.difference, test.low, test.high, test.p_value, test.count) == (0, 0, 0, 1, 300)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_p_value_and_interval_agree_with_the_paired_t_test(shift: int) -> None:
    """With many rows the t-test (t is then normal) and the permutation test ask the same question."""
    rng = np.random.default_rng(shift)
    first_R = rng.integers(1, 21, size=500)
    second_R = np.clip(first_R + rng.integers(-8, 9, size=500) + shift, 1, None)
    test = paired_test(first_R, second_R, np.arange(500), resamples=4_000, seed=5)
    difference_R = ndcg_gain(first_R, 10) - ndcg_gain(second_R, 10)
    mean, error = difference_R.mean(), difference_R.std(ddof=1) / math.sqrt(len(difference_R))
    assert test.difference == pytest.approx(mean)
    assert test.p_value == pytest.approx(math.erfc(abs(mean / error) / math.sqrt(2)), abs=0.03)
    assert (test.low, test.high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.003)


def test_exchanging_the_scorers_turns_the_sign() -> None:
    rng = np.random.default_rng(1)
    first_R, second_R = rng.integers(1, 30, size=(2, 200))
    user_R = rng.integers(0, 90, size=200)
    forward = paired_test(first_R, second_R, user_R, resamples=500, seed=0)
    backward = paired_test(second_R, first_R, user_R, resamples=500, seed=0)
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.p_value == pytest.approx(backward.p_value, abs=0.08)


def paired_rows(first_R: np.ndarray, second_R: np.ndarray, resamples: int, seed: int) -> PairedTest:
    """The test where rows are drawn and flipped: draws over the distinct differences."""
    rows, rng = len(first_R), np.random.default_rng(seed)
    difference_D, count_D = np.unique(first_R - second_R, return_counts=True)
    observed = float(count_D @ difference_D) / rows
    draw_BD = rng.multinomial(rows, count_D / rows, size=resamples)
    low, high = np.quantile(draw_BD @ difference_D / rows, TAILS)
    flip_BD = 2 * rng.binomial(count_D, 0.5, size=(resamples, len(count_D))) - count_D
    flipped_B = np.abs(flip_BD @ difference_D / rows)
    extreme = int(np.count_nonzero(flipped_B >= abs(observed) - 1e-12))
    return PairedTest(
        difference=observed,
        low=float(low),
        high=float(high),
        p_value=(1 + extreme) / (1 + resamples),
        count=rows,
    )


@settings(max_examples=60)
@given(
    ranks=st.lists(st.tuples(st.integers(1, 14), st.integers(1, 14)), min_size=1, max_size=80),
    resamples=st.integers(1, 200),
    seed=st.integers(0, 9),
)
def test_with_a_row_a_user_the_test_is_that_of_rows_to_the_last_bit(
    ranks: list[tuple[int, int]], resamples: int, seed: int
) -> None:
    first_R, second_R = np.array(ranks).T
    user_R = np.random.default_rng(seed).permutation(len(ranks))
    found = paired_test(first_R, second_R, user_R, resamples=resamples, seed=seed)
    assert found == paired_rows(ndcg_gain(first_R, 10), ndcg_gain(second_R, 10), resamples, seed)


def test_means_over_seeds_with_a_row_a_user_are_tested_to_the_last_bit() -> None:
    first_R, second_R = np.random.default_rng(2).random((2, 700))
    found = paired_gains(first_R, second_R, np.arange(700), resamples=500, seed=1)
    assert found == paired_rows(first_R, second_R, 500, 1)


def test_rows_that_repeat_their_users_are_no_further_evidence() -> None:
    ranks_2R = np.random.default_rng(2).integers(1, 16, size=(2, 120))
    once = paired_test(*ranks_2R, np.arange(120), resamples=2_000, seed=0)
    often = paired_test(*np.tile(ranks_2R, 10), np.tile(np.arange(120), 10), resamples=2_000, seed=0)
    assert (often.difference, often.low, often.high) == pytest.approx((once.difference, once.low, once.high))
    assert often.p_value == pytest.approx(once.p_value, abs=0.03)
    of_rows = paired_test(*np.tile(ranks_2R, 10), np.arange(1_200), resamples=2_000, seed=0)
    assert of_rows.p_value < 0.005 < 0.05 < once.p_value


def saved_run(root: Path, rows_digest: str, rank_R: np.ndarray) -> Path:
    save_ranks(root, Behaviour.SEARCH, rank_R, np.arange(len(rank_R)))
    write_json(root / "metrics.json", {"protocol": {"rows_digest": rows_digest, "rows": {"search": len(rank_R)}}})
    return root


def test_runs_are_compared_by_their_saved_ranks(tmp_path: Path) -> None:
    first = saved_run(tmp_path / "a", "same", np.ones(50, dtype=np.int64))
    second = saved_run(tmp_path / "b", "same", np.full(50, 30))
    comparison = compare_runs(first, second)
    assert comparison.tasks.keys() == {"search"}
    found = comparison.tasks["search"]
    assert (found.first, found.second, found.test.difference, found.test.count) == (1, 0, 1, 50)
    assert found.test.p_value == pytest.approx(1e-4, rel=0.01)
    saved = load_ranks(second, Behaviour.SEARCH)
    assert np.array_equal(saved.rank_R, np.full(50, 30))
    assert np.array_equal(saved.user_R, np.arange(50))


def test_runs_are_compared_by_their_users(tmp_path: Path) -> None:
    """10 rows of each of 5 users say as much as 5 rows."""
    few, many = [], []
    for name, rank in (("a", 1), ("b", 30)):
        few.append(saved_run(tmp_path / "few" / name, "same", np.full(5, rank)))
        many.append(saved_run(tmp_path / "many" / name, "same", np.full(50, rank)))
        save_ranks(many[-1], Behaviour.SEARCH, np.full(50, rank), np.repeat(np.arange(5), 10))
    of_few, of_many = (compare_runs(*runs).tasks["search"].test for runs in (few, many))
    assert (of_few.count, of_many.count) == (5, 50)
    assert of_few.p_value == of_many.p_value == pytest.approx(2 / 2**5, rel=0.1)


def test_runs_with_other_rows_are_refused(tmp_path: Path) -> None:
    first = saved_run(tmp_path / "a", "one", np.ones(5, dtype=np.int64))
    second = saved_run(tmp_path / "b", "another", np.ones(5, dtype=np.int64))
    with pytest.raises(InputError, match="test rows are not those of"):
        compare_runs(first, second)
    with pytest.raises(InputError, match=r"rec\.npy: no saved ranks"):
        load_ranks(first, Behaviour.RECOMMENDATION)
    (first / "ranks" / "search.npy").write_bytes(b"not an array")
    with pytest.raises(InputError, match=r"search\.npy: no saved ranks"):
        load_ranks(first, Behaviour.SEARCH)


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"protocol": {"rows_digest": "same"}}', '{"protocol": 5}'])
def test_files_that_are_no_evaluation_are_refused(tmp_path: Path, content: str) -> None:
    first = saved_run(tmp_path / "a", "same", np.ones(5, dtype=np.int64))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "metrics.json").write_text(content)
    for pair in ((first, tmp_path / "b"), (tmp_path / "b", first)):
        with pytest.raises(InputError, match=r"b/metrics\.json: expected the record of an evaluation, .*; run `gensr"):
            compare_runs(*pair)


def test_ranks_of_another_evaluation_than_the_metrics_are_refused(tmp_path: Path) -> None:
    runs = [saved_run(tmp_path / name, "same", np.ones(5, dtype=np.int64)) for name in "ab"]
    for rows, users in ((4, np.arange(4)), (5, np.arange(1, 6))):
        save_ranks(runs[1], Behaviour.SEARCH, np.ones(rows, dtype=np.int64), users)
        with pytest.raises(InputError, match=r"b/ranks/search\.npy: expected the ranks of the same 5 rows; run"):
            compare_runs(*runs)


def test_the_command_says_a_line_a_task(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = (saved_run(tmp_path / name, "same", np.full(50, rank)) for name, rank in (("a", 1), ("b", 3)))
    assert main(["compare", str(first), str(second)]) == 0
    assert capfd.readouterr().out == (
        f"search, 50 rows: NDCG@10 1.0000 in {first}, 0.5000 in {second}; "
        "difference +0.5000 [+0.5000, +0.5000], p = 0.0001\n"
    )
    assert main(["compare", str(first), str(second), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["first"], found["second"]) == (str(first), str(second))
    assert found["tasks"]["search"] == {
        "first": 1.0,
        "second": 0.5,
        "test": {"difference": 0.5, "low": 0.5, "high": 0.5, "p_value": pytest.approx(1e-4, rel=0.01), "count": 50},
    }
    assert main(["compare", str(first), str(tmp_path)]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"gensr: error: {tmp_path}/metrics.json: the file does")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_ranks_that_were_cut_are_one_line(tmp_path: Path, content: bytes) -> None:
    save_ranks(tmp_path, Behaviour.SEARCH, np.arange(3), np.arange(3))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no saved ranks .*; run `gensr evaluate` on this run"):
        load_ranks(tmp_path, Behaviour.SEARCH)
