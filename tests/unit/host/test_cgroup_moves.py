from pathlib import Path

from wherry.host.cgroup_moves import own_place
from wherry.host.cgroups import Layout

ROOT = Path("/sys/fs/cgroup")


def test_on_v1_any_hierarchy_that_is_known_will_do():
    layout = Layout("hybrid", {"pids": ROOT / "pids", "cpu": ROOT / "cpu,cpuacct"}, ROOT / "unified")
    membership = "12:perf_event:/\n3:cpuacct,cpu:/a/b\n1:name=systemd:/x\n0::/x\n"
    assert own_place(layout, membership) == ROOT / "cpu,cpuacct" / "a" / "b"


def test_on_v2_it_is_the_only_one():
    layout = Layout("v2", {"memory": ROOT}, ROOT)
    assert own_place(layout, "0::/system.slice/wherry.service\n") == ROOT / "system.slice" / "wherry.service"


def test_what_cannot_be_told_is_none():
    assert own_place(Layout("v1", {"pids": ROOT / "pids"}), "5:rdma:/\n0::/\n") is None
