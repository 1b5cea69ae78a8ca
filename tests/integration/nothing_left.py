"""Whether an engine has anything left that belongs to no container, volume or network."""

from pathlib import Path

from wherry.engine.engine import Engine
from wherry.host import leftovers, processes


def assert_nothing_left(engine: Engine) -> None:
    """All containers, volumes and user-defined networks have been removed: nothing of them is to be found."""
    left = leftovers.find(engine.instance)
    running = [pid for pid in left.processes if processes.is_alive(pid)]
    assert not running, [processes.command_line(pid) for pid in running]
    # The bridge of the default network stays.
    assert len(left.links) <= 1, left.links
    assert not [path for path in left.mounts if not path.startswith(str(engine.instance.netns_dir))]
    assert not [path for path in left.cgroups if len(Path(path).name) == 64]
    for place in ("containers", "exits", "execs"):
        directory = engine.instance.run / place
        assert not directory.is_dir() or not list(directory.iterdir()), place
    assert not list((engine.instance.root / "containers").iterdir())
    snapshots = engine.images.snapshots.keys()
    assert not [key for key in snapshots if len(key) >= 64]
    assert not engine.volumes.list()["Volumes"]
