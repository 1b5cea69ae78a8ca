"""Making the kernel ready for a process to change its cgroup, shortly before one does.

The first write to a `cgroup.procs` after a while waits for an RCU grace period, 5 to 30 ms in which nothing else
happens; those that follow within the next one do not (kernel, `cgroup_attach_lock` and `rcu_sync_enter`). Every start
of a container and every exec has such a write on its path. Moving ourselves to where we are already changes nothing
and takes the same lock: done while the client and the runtime are still on their way, it takes the wait off the path.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wherry.host.cgroups import Layout


class CgroupMoves:
    """Of one process. `expect` costs nothing and may be called at any time, from the event loop's thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cgroup-moves")
        self._busy = False

    def expect(self) -> None:
        """A process will be moved within some 20 ms: begin the wait now, in a thread."""
        if not self._busy:
            self._busy = True
            self._thread.submit(self._move)

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _move(self) -> None:
        try:
            place = own_place(self._layout, Path("/proc/self/cgroup").read_text())
            if place is not None:
                (place / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            # Read-only, or not visible from here: then the wait stays where it was.
            pass
        finally:
            self._busy = False


def own_place(layout: Layout, membership: str) -> Path | None:
    """Where a process is in one of the hierarchies, from its /proc/<pid>/cgroup; None when that cannot be told."""
    for line in membership.splitlines():
        _, names, path = line.split(":", 2)
        root = layout.unified if layout.version == 2 and not names else None
        for name in names.split(","):
            root = root or layout.controllers.get(name)
        if root is not None:
            return root / path.lstrip("/")
    return None
