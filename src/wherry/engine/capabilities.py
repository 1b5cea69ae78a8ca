"""Linux capabilities: Docker's default set, `CapAdd`/`CapDrop`/`Privileged`, and what this machine can give.

Specified in capabilities(7) and in the Docker Engine API, HostConfig.CapAdd.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from wherry.engine.errors import InvalidParameter

ALL = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""In the order of the kernel's numbers."""

DEFAULT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip


@cache
def available() -> frozenset[str]:
    """What this process may give away: its own bounding set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(ALL) if bits >> number & 1)
    return frozenset(ALL)


def normalise(names: Sequence[str]) -> list[str]:
    """`net_admin`, `CAP_NET_ADMIN`, `all` → the kernel's names. Raises InvalidParameter for an unknown one."""
    result = []
    for name in names:
        upper = name.upper()
        if upper == "ALL":
            result.append(upper)
            continue
        if not upper.startswith("CAP_"):
            upper = f"CAP_{upper}"
        if upper not in ALL:
            raise InvalidParameter(f'invalid capability: "{name}"')
        result.append(upper)
    return result


def effective(add: Sequence[str], drop: Sequence[str], *, privileged: bool) -> list[str]:
    """The capabilities of a container's processes. What the machine itself lacks is left out of ALL."""
    if privileged:
        return [name for name in ALL if name in available()]
    added, dropped = normalise(add), normalise(drop)
    everything = [name for name in ALL if name in available()]
    if not added and not dropped:
        return [name for name in DEFAULT if name in available()]
    if "ALL" in dropped:
        return [name for name in added if name != "ALL"]
    if "ALL" in added:
        return [name for name in everything if name not in dropped]
    kept = [name for name in DEFAULT if name not in dropped and name in available()]
    return kept + [name for name in added if name not in kept]
