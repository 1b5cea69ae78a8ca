"""Tasks that wait for each other, run in threads: each starts as soon as what it waits for is over.

Work is waiting for a daemon's answers, so threads do. A task that fails stops what has not begun; those that run get
some seconds to finish, and then the first failure is raised.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

DEFAULT_PARALLEL = 24
GRACE_SECONDS = 10.0
"""How long tasks that run may go on when another has failed: some wait for what may never come."""


@dataclass(frozen=True)
class Task:
    """`run` is called once all tasks of `after` are over. Ids of tasks that are not there count as over."""

    id: str
    run: Callable[[], None]
    after: Sequence[str] = ()


def run(tasks: Iterable[Task], parallel: int = 0) -> None:
    """Runs them all, at most `parallel` at once (0: DEFAULT_PARALLEL). Raises what the first failed task raised.

    Tasks that wait for each other in a circle are run when nothing else is left.
    """
    waiting = list(tasks)
    open_ids = {task.id for task in waiting}
    running: dict[Future[None], Task] = {}
    failure: BaseException | None = None
    deadline: float | None = None
    limit = parallel if parallel > 0 else DEFAULT_PARALLEL
    if len(waiting) == 1:
        waiting[0].run()
        return
    pool = ThreadPoolExecutor(limit, thread_name_prefix="compose")
    try:
        while waiting or running:
            if failure is None:
                ready = [task for task in waiting if not open_ids.intersection(task.after)]
                if not ready and not running:
                    ready = waiting[:]  # they wait for each other: an order that cannot be kept is none
                for task in ready[: limit - len(running)]:
                    waiting.remove(task)
                    running[pool.submit(task.run)] = task
            if not running:
                break
            if failure is not None and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, _ = wait(running, patience, return_when=FIRST_COMPLETED)
            if not done:
                break
            for future in done:
                task = running.pop(future)
                open_ids.discard(task.id)
                failure = failure or future.exception()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if failure is not None:
        raise failure
