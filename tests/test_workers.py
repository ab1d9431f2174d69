"""Many evaluations: in this process or in several, with failures, deaths and stops told apart."""

import os
import signal
import time

import pytest

from nas_suite.errors import Interrupted
from nas_suite.workers import Done, evaluate


def squared(n: int) -> int:
    return n * n


def picky(n: int) -> int:
    if n == 1:
        raise ValueError("one is\nnot wanted")
    if n == 2:
        os._exit(7)
    return n


def slow(n: int) -> int:
    time.sleep(60)
    return n


def stopped(n: int) -> int:
    raise Interrupted(signal.SIGTERM)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_task_is_answered_once(workers: int) -> None:
    found = sorted(evaluate(squared, range(7), workers), key=lambda done: done.task)
    assert found == [Done(n, n * n) for n in range(7)]


def test_one_worker_keeps_the_order_and_starts_nothing_early() -> None:
    begun = []
    answers = evaluate(squared, (begun.append(n) or n for n in range(3)), 1)
    assert next(answers) == Done(0, 0)
    assert begun == [0]


def test_a_task_that_fails_and_one_that_dies_are_no_end_of_the_others() -> None:
    found = {done.task: done for done in evaluate(picky, range(5), 2)}
    assert found[1].error == "ValueError: one is not wanted"
    assert "exit code 7" in found[2].error
    assert [found[n].result for n in (0, 3, 4)] == [0, 3, 4]


def test_what_is_not_foreseen_is_passed_on() -> None:
    with pytest.raises(TypeError):
        list(evaluate(squared, ["word"], 1))


def test_a_check_that_raises_stops_the_workers_at_once() -> None:
    def check() -> None:
        raise Interrupted(signal.SIGINT)

    begun = time.monotonic()
    with pytest.raises(Interrupted):
        list(evaluate(slow, range(2), 2, check))
    assert time.monotonic() - begun < 30


def test_a_worker_that_a_signal_stops_stops_all() -> None:
    with pytest.raises(Interrupted) as caught:
        list(evaluate(stopped, range(2), 2))
    assert caught.value.number == signal.SIGTERM
