from pathlib import Path

from wherry.host.cgroups import Cgroup, Layout


def write(base: Path, files: dict[str, str]) -> None:
    base.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (base / name).write_text(text)


def test_stats_of_a_v2_cgroup(tmp_path: Path) -> None:
    layout = Layout("v2", dict.fromkeys(("cpu", "memory", "pids", "io"), tmp_path), tmp_path)
    write(
        tmp_path / "w" / "c",
        {
            "cpu.stat": "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nthrottled_usec 7\n",
            "memory.current": "1000\n",
            "memory.max": "max\n",
            "memory.peak": "2000\n",
            "memory.stat": "anon 600\ninactive_file 300\n",
            "memory.events": "oom 2\noom_kill 1\n",
            "pids.current": "4\n",
            "pids.max": "10\n",
            "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
        },
    )
    cgroup = Cgroup(layout, "/w/c")
    stats = cgroup.stats()
    assert (stats.cpu_total, stats.cpu_user, stats.throttled_time) == (1_500_000, 1_000_000, 7000)
    assert (stats.memory_usage, stats.memory_limit, stats.working_set) == (1000, None, 700)
    assert (stats.pids_current, stats.pids_limit) == (4, 10)
    assert stats.block_bytes == [(8, 0, "read", 10), (8, 0, "write", 20)]
    assert cgroup.oom_kills() == 1


def test_stats_of_a_v1_cgroup(tmp_path: Path) -> None:
    names = ("cpu", "cpuacct", "memory", "pids", "blkio")
    layout = Layout("v1", {name: tmp_path / name for name in names})
    write(tmp_path / "cpuacct" / "c", {"cpuacct.usage": "9\n", "cpuacct.usage_percpu": "4 5 \n"})
    write(
        tmp_path / "memory" / "c",
        {
            "memory.usage_in_bytes": "100\n",
            "memory.limit_in_bytes": "9223372036854771712\n",
            "memory.stat": "total_inactive_file 40\n",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        },
    )
    write(tmp_path / "pids" / "c", {"pids.current": "1\n", "pids.max": "max\n"})
    write(
        tmp_path / "blkio" / "c",
        {"blkio.throttle.io_service_bytes_recursive": "8:0 Read 512\n8:0 Total 512\nTotal 512\n"},
    )
    cgroup = Cgroup(layout, "c")
    stats = cgroup.stats()
    assert (stats.cpu_total, stats.cpu_per_core) == (9, [4, 5])
    assert (stats.memory_limit, stats.working_set, stats.pids_limit) == (None, 60, None)
    assert stats.block_bytes == [(8, 0, "read", 512), (8, 0, "total", 512)]
    assert cgroup.oom_kills() == 3


def test_a_cgroup_that_is_gone_has_zeros_and_can_be_removed(tmp_path: Path) -> None:
    layout = Layout("v2", {"memory": tmp_path, "pids": tmp_path}, tmp_path)
    cgroup = Cgroup(layout, "gone")
    assert cgroup.stats().memory_usage == 0
    assert not cgroup.exists()
    assert cgroup.pids() == []
    cgroup.remove()


def test_making_a_v2_cgroup_passes_controllers_down(tmp_path: Path) -> None:
    write(tmp_path, {"cgroup.controllers": "cpu memory\n", "cgroup.subtree_control": ""})
    Cgroup(Layout("v2", {"cpu": tmp_path}, tmp_path), "a").create()
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
