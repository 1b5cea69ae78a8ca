"""Names of sysctls never lead out of /proc/sys."""

from pathlib import Path

import pytest

from wherry.host.namespaces import sysctl_path


def test_a_slash_stands_for_a_dot() -> None:
    assert sysctl_path("net.ipv4.conf.eth0/1.forwarding") == Path("/proc/sys/net/ipv4/conf/eth0.1/forwarding")


@pytest.mark.parametrize("name", ["net.//.kernel.core_pattern", "net./.x", "net..x", "", "net.x\0"])
def test_a_name_that_leads_elsewhere_is_none(name: str) -> None:
    with pytest.raises(OSError, match="no such sysctl"):
        sysctl_path(name)
