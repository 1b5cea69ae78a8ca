import threading

import pytest

from wherry.compose.graph import Task, run


def test_each_waits_for_what_it_names() -> None:
    done: list[str] = []
    tasks = [
        Task("c", lambda: done.append("c"), ("a", "b")),
        Task("a", lambda: done.append("a")),
        Task("b", lambda: done.append("b"), ("a", "not there")),
    ]
    run(tasks)
    assert done == ["a", "b", "c"]


def test_what_does_not_wait_runs_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    run([Task(str(number), lambda: together.wait() and None) for number in range(3)])


def test_no_more_than_asked_for_run_at_once() -> None:
    running = threading.Semaphore(1)

    def alone() -> None:
        assert running.acquire(blocking=False)
        running.release()

    run([Task(str(number), alone) for number in range(5)], parallel=1)


def test_a_failure_stops_what_has_not_begun() -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        run([Task("a", fail), Task("b", lambda: done.append("b"), ("a",))])
    assert done == []


def test_those_that_wait_for_each_other_run_in_the_end() -> None:
    done: list[str] = []
    run([Task("a", lambda: done.append("a"), ("b",)), Task("b", lambda: done.append("b"), ("a",))], parallel=1)
    assert done == ["a", "b"]
