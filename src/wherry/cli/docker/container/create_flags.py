"""The flags of `docker create` and `docker run`, and the parsers of their own types."""

from __future__ import annotations

from wherry.cli.docker.container.mounts import parse_mount
from wherry.cli.format.units import parse_bytes

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

CREATE_FLAGS = """
  add-host add-host                  Further name and address for /etc/hosts (name:address)
  annotation map                     Annotation that the runtime gets
a,attach attach                      Connect to STDIN, STDOUT or STDERR
  blkio-weight uint16=0              Share of block I/O, 10 to 1000; 0 is none of its own
  blkio-weight-device weight-device  Share of a device's block I/O (PATH:WEIGHT)
  cap-add list                       Give a capability
  cap-drop list                      Take a capability
  cgroup-parent string               Parent of the container's cgroup
  cgroupns string                    Cgroup namespace: host or private
  cidfile string                     Write the container's id to this file
  cpu-period int                     Period of the CPU limit, in microseconds
  cpu-quota int                      CPU time per period, in microseconds
  cpu-rt-period int                  Period of real-time CPU, in microseconds
  cpu-rt-runtime int                 Real-time CPU per period, in microseconds
c,cpu-shares int                     Share of CPU time, relative to others
  cpus decimal                       Number of CPUs, such as 1.5
  cpuset-cpus string                 CPUs that may be used (0-3, 0,1)
  cpuset-mems string                 Memory nodes that may be used (0-3, 0,1)
  device list                        Device of this machine to give to the container
  device-cgroup-rule list            Further rule about which devices may be used
  device-read-bps rate-bytes         Limit of reading from a device (PATH:BYTES per second)
  device-read-iops rate              Limit of reading from a device (PATH:OPERATIONS per second)
  device-write-bps rate-bytes        Limit of writing to a device (PATH:BYTES per second)
  device-write-iops rate             Limit of writing to a device (PATH:OPERATIONS per second)
  disable-content-trust=true         Accepted; there is no content trust
  dns address                        DNS server
  dns-option list                    DNS option
  dns-opt list                       The same
  dns-search domain                  DNS search domain
  domainname string                  NIS domain name
  entrypoint string                  Run this, not the image's entry point
e,env env                            Set an environment variable (NAME=VALUE, or NAME to pass it on)
  env-file list                      Read environment variables from a file
  expose list                        Expose a port or a range of ports
  gpus gpu-request                   GPUs to give to the container ("all" for all)
  group-add list                     Further group of the process
  health-cmd string                  Command that tells whether the container is healthy
  health-interval duration=0s        Time between two checks
  health-retries int                 Failures in a row that make it unhealthy
  health-start-interval duration=0s  Time between two checks while it starts
  health-start-period duration=0s    Time to start in, before failures count
  health-timeout duration=0s         Time that one check may take
h,hostname string                    Host name
  init                               Run a small init that passes signals on and reaps processes
i,interactive                        Keep standard input open
  ip ip                              IPv4 address
  ip6 ip                             IPv6 address
  ipc string                         IPC mode
  isolation string                   Isolation technology
  kernel-memory bytes                Accepted; kernels have no such limit any more
l,label list                         Label (NAME=VALUE)
  label-file list                    Read labels from a file
  link link                          Link to another container
  link-local-ip address              Link-local address
  log-driver string                  Log driver
  log-opt list                       Option of the log driver
  mac-address string                 MAC address
m,memory bytes                       Limit of memory
  memory-reservation bytes           Soft limit of memory
  memory-swap bytes                  Limit of memory and swap together; -1 is no limit
  memory-swappiness int=-1           How readily to swap, 0 to 100
  mount mount                        Mount a filesystem (type=bind,source=…,target=…)
  name string                        Name
  network network                    Network to connect to
  net network                        The same
  network-alias list                 Further name in the network
  net-alias list                     The same
  no-healthcheck                     Drop the image's health check
  oom-kill-disable                   Never kill it for lack of memory
  oom-score-adj int                  How readily to kill it for lack of memory (-1000 to 1000)
  pid string                         PID namespace
  pids-limit int                     Limit of processes; -1 is no limit
  platform string                    Platform of the image
  privileged                         Give all rights
p,publish list                       Publish a port on this machine
P,publish-all                        Publish all exposed ports on free ports
  pull string=missing                When to pull the image: always, missing or never
q,quiet                              Say nothing while pulling
  read-only                          Mount the root filesystem read-only
  restart string=no                  When to restart: no, always, on-failure[:times], unless-stopped
  rm                                 Remove the container and its anonymous volumes when it ends
  runtime string                     OCI runtime
  security-opt list                  Security option
  shm-size bytes                     Size of /dev/shm
  stop-signal string                 Signal that stops the container
  stop-timeout int                   Seconds to wait before killing it
  storage-opt list                   Option of the storage driver
  sysctl sysctl                      Kernel parameter
  tmpfs list                         Mount a tmpfs (DIRECTORY[:OPTIONS])
t,tty                                Give it a terminal
  ulimit ulimit                      Resource limit (NAME=SOFT[:HARD])
u,user string                        User and group (NAME|UID[:GROUP|GID])
  userns string                      User namespace
  uts string                         UTS namespace
v,volume list                        Bind a directory or a volume
  volume-driver string               Volume driver
  volumes-from list                  Take the volumes of another container
w,workdir string                     Working directory
"""

_ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip
_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip


def add_host(text: str) -> str:
    """`name:address` or `name=address`, as the API wants it."""
    name, found, address = text.partition("=")
    if not found or ":" in name:
        name, found, address = text.partition(":")
    if not found or not name or not address:
        raise ValueError(f'bad format for add-host: "{text}"')
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if bare != "host-gateway" and not is_address(bare):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{bare}"


def attach(text: str) -> str:
    lowered = text.lower()
    if lowered not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return lowered


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def address(text: str) -> str:
    if not is_address(text.strip()):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def one_address(text: str) -> str:
    if not is_address(text.strip()):
        raise ValueError(f'failed to parse IP: "{text}"')
    return text.strip()


def domain(text: str) -> str:
    if text.strip() == ".":
        return "."
    if not text or len(text) > 255 or not all(char.isalnum() or char in ".-" for char in text) or text[0] in "-.":
        raise ValueError(f"{text} is not a valid domain")
    return text


def env(text: str) -> str:
    """`NAME=VALUE`, or `NAME` with the value it has here; without one the name alone, which removes the variable."""
    import os

    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    return text if equals or name not in os.environ else f"{name}={os.environ[name]}"


def link(text: str) -> str:
    parts = text.split(":")
    if not text or len(parts) > 2:
        raise ValueError(f"bad format for links: {text}" if text else "empty string specified for links")
    if len(parts) == 1:
        return f"{text}:{text}"
    return f"{parts[0]}:{parts[1].rpartition('/')[2]}" if parts[0].startswith("/") else text


def network(text: str) -> dict[str, Any]:
    """A network's name, or `name=…,alias=…,ip=…`."""
    if "=" not in text:
        return {"name": text}
    options: dict[str, Any] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ValueError(f"invalid field {field}")
        if key == "name":
            options["name"] = value
        elif key == "alias":
            options.setdefault("aliases", []).append(value)
        elif key in ("ip", "ip6"):
            options[key] = one_address(value)
        elif key == "mac-address":
            options[key] = value
        elif key == "link-local-ip":
            options.setdefault(key, []).append(value)
        elif key == "driver-opt":
            name, found, setting = value.partition("=")
            if not found:
                raise ValueError("invalid key value pair format in driver options")
            options.setdefault("driver-opt", {})[name] = setting
        elif key == "gw-priority":
            try:
                options[key] = int(value)
            except ValueError:
                raise ValueError(f"invalid gw-priority ({value}): value must be an integer: invalid syntax") from None
        else:
            raise ValueError(f"invalid field key {key}")
    if not options.get("name"):
        raise ValueError("network name/id is not specified")
    return options


def sysctl(text: str) -> str:
    name = text.partition("=")[0]
    if "=" not in text or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def ulimit(text: str) -> dict[str, Any]:
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    first, colon, second = limits.partition(":")
    try:
        soft = int(first)
        hard = int(second) if colon else soft
    except ValueError:
        wrong = first if not first.lstrip("-").isdigit() else second
        raise ValueError(f'strconv.ParseInt: parsing "{wrong}": invalid syntax') from None
    if hard != -1 and (soft > hard or soft == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def _device_rate(text: str, *, size: bool) -> dict[str, Any]:
    path, colon, number = text.rpartition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")

    wrong = (
        f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a "
        "positive integer. Unit is optional and can be kb, mb, or gb"
        if size
        else f"invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a "
        "positive integer"
    )
    try:
        rate = parse_bytes(number) if size else int(number)
    except ValueError:
        raise ValueError(wrong) from None
    if rate < 0:
        raise ValueError(wrong)
    return {"Path": path, "Rate": rate}


def weight_device(text: str) -> dict[str, Any]:
    path, colon, number = text.rpartition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    if not number.isdigit() or (int(number) and not 10 <= int(number) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(number)}


def gpu_request(text: str) -> dict[str, Any]:
    """`all`, a number, or `device=…,capabilities=…` (quoted as CSV)."""
    import csv

    request: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [], "Options": {}}
    capabilities: list[str] = []
    for field in next(csv.reader([text])):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", field
        if key == "count":
            try:
                request["Count"] = -1 if value == "all" else int(value)
            except ValueError:
                raise ValueError(
                    f'invalid count ({value}): value must be either "all" or an integer: invalid syntax'
                ) from None
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            capabilities = value.split(",")
        elif key == "options":
            request["Options"] = dict(pair.partition("=")[::2] for pair in value.split(","))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if "gpu" not in capabilities:
        capabilities.append("gpu")
    if not request["Count"] and not request["DeviceIDs"]:
        request["Count"] = 1
    request["Capabilities"] = [capabilities]
    return request


TYPES = {
    "add-host": add_host,
    "attach": attach,
    "address": address,
    "domain": domain,
    "env": env,
    "gpu-request": gpu_request,
    "ip": one_address,
    "link": link,
    "mount": parse_mount,
    "network": network,
    "rate": lambda text: _device_rate(text, size=False),
    "rate-bytes": lambda text: _device_rate(text, size=True),
    "sysctl": sysctl,
    "ulimit": ulimit,
    "weight-device": weight_device,
}
