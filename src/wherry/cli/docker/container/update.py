"""`docker update`."""

from __future__ import annotations

from wherry.cli.docker.container.create_body import restart_policy
from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
ARGUMENTS = (1, None)
FLAGS = """
  blkio-weight uint16=0     Share of block I/O, 10 to 1000; 0 is none of its own
  cpu-period int            Period of the CPU limit, in microseconds
  cpu-quota int             CPU time per period, in microseconds
  cpu-rt-period int         Period of real-time CPU, in microseconds
  cpu-rt-runtime int        Real-time CPU per period, in microseconds
c,cpu-shares int            Share of CPU time, relative to others
  cpus decimal              Number of CPUs, such as 1.5
  cpuset-cpus string        CPUs that may be used (0-3, 0,1)
  cpuset-mems string        Memory nodes that may be used (0-3, 0,1)
m,memory bytes              Limit of memory
  memory-reservation bytes  Soft limit of memory
  memory-swap bytes         Limit of memory and swap together; -1 is no limit
  pids-limit int            Limit of processes; -1 is no limit
  restart string            When to restart
"""
_KEYS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
}


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.docker_api.client import DockerError

    if not flags.any_given():
        raise CliError("you must provide one or more flags when using this command")
    body: dict[str, Any] = {key: flags[name] for name, key in _KEYS.items()}
    if flags.given("pids-limit"):
        body["PidsLimit"] = flags["pids-limit"]
    if flags["restart"]:
        body["RestartPolicy"] = restart_policy(flags["restart"])
    warnings: list[str] = []
    errors: list[str] = []
    for name in arguments:
        try:
            answer = cli.client.post(f"/containers/{name}/update", body=body)
        except DockerError as error:
            errors.append(f"Error response from daemon: {error.message}")
            continue
        cli.out(name)
        warnings += (answer or {}).get("Warnings") or []
    if warnings:
        cli.out("\n".join(warnings))
    if errors:
        raise CliError("\n".join(errors))
    return 0
