"""The keys of a service, each with its converter: the whole `services` section of the Compose specification.

https://docs.docker.com/reference/compose-file/services/. Keys whose meaning Wherry cannot honour are in the table too,
so that every valid file can be read: `unsupported.py` says which are warned of, and which refused when it is to run.
"""

import re
from typing import Any

from wherry.compose.build_fields import build
from wherry.compose.convert import (
    At,
    Converter,
    absolute,
    boolean,
    command,
    duration,
    integer,
    key_values,
    kind,
    labels,
    list_of,
    map_of,
    mapping,
    microseconds,
    number,
    one_of,
    one_or_list,
    optional,
    path,
    scalar,
    size,
    string,
)
from wherry.compose.port_fields import expose, ports
from wherry.compose.shared_fields import extra_hosts, grant, ulimit


def permissions(value: Any, at: At) -> int:
    """A file mode as a number: as YAML has it, or the octal digits of a string."""
    text = value if isinstance(value, str) else ""
    return int(text.removeprefix("0o"), 8) if re.fullmatch(r"(0o)?[0-7]{1,5}", text) else integer(value, at)


_BIND_OPTIONS = {
    "propagation": one_of("shared", "rshared", "slave", "rslave", "private", "rprivate"),
    "create_host_path": boolean,
    "selinux": one_of("z", "Z"),
    "recursive": one_of("enabled", "disabled", "writable", "readonly"),
}
_VOLUME = mapping(
    {
        "type": one_of("bind", "volume", "tmpfs", "npipe", "cluster", "image"),
        "source": string,
        "target": string,
        "read_only": boolean,
        "consistency": string,
        "bind": mapping(_BIND_OPTIONS),
        "volume": mapping({"nocopy": boolean, "subpath": string, "labels": labels}),
        "tmpfs": mapping({"size": size, "mode": permissions}),
        "image": mapping({"subpath": string}),
    },
    required=("type", "target"),
)
_VOLUME_MODES = {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"}
_PROPAGATION = {"shared", "rshared", "slave", "rslave", "private", "rprivate"}


def volume(value: Any, at: At) -> dict[str, Any]:
    """`[source:]target[:mode]` or the long form; relative sources become absolute paths."""
    if isinstance(value, dict):
        found: dict[str, Any] = _VOLUME(value, at)
        if found["type"] in ("bind", "image", "npipe", "cluster") and not found.get("source"):
            at.fail(f"missing property 'source': a mount of type {found['type']} needs one")
        if found["type"] == "tmpfs" and found.get("source"):
            (at / "source").fail("a mount of type tmpfs has no source")
        if found["type"] == "bind":
            found["source"] = absolute(found["source"], at.folder)
            found["bind"] = {"create_host_path": True} | (found.get("bind") or {})
        return found
    parts = string(value, at).split(":")
    if len(parts) > 3 or not parts[-1]:
        at.fail(
            f"invalid spec: {value}: too many colons" if len(parts) > 3 else f"invalid spec: {value}: empty section"
        )
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0], "volume": {}}
    source, target, *modes = parts
    if not source or not target:
        at.fail(f"invalid spec: {value}: empty section between colons")
    found = {"source": source, "target": target}
    if source.startswith(("/", ".", "~")):
        found |= {"type": "bind", "source": absolute(source, at.folder), "bind": {"create_host_path": True}}
    else:
        found |= {"type": "volume", "volume": {}}
    for mode in modes[0].split(",") if modes else ():
        if mode == "ro":
            found["read_only"] = True
        elif mode == "nocopy" and found["type"] == "volume":
            found["volume"]["nocopy"] = True
        elif mode in ("z", "Z") and found["type"] == "bind":
            found["bind"]["selinux"] = mode
        elif mode in _PROPAGATION and found["type"] == "bind":
            found["bind"]["propagation"] = mode
        elif mode not in _VOLUME_MODES:
            at.fail(f"invalid spec: {value}: unknown option: {mode}")
    return found


def env_file(value: Any, at: At) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        place = at / index if isinstance(value, list) else at
        if isinstance(item, dict):
            found = mapping({"path": path, "required": boolean, "format": one_of("raw")}, required=("path",))(
                item, place
            )
        else:
            found = {"path": path(item, place)}
        found.setdefault("required", True)
        entries.append(found)
    return entries


_DEPENDENCY = mapping(
    {
        "condition": one_of("service_started", "service_healthy", "service_completed_successfully"),
        "restart": boolean,
        "required": boolean,
    },
    required=("condition",),
)


def depends_on(value: Any, at: At) -> dict[str, dict[str, Any]]:
    if isinstance(value, list):
        return {
            string(item, at / index): {"condition": "service_started", "required": True}
            for index, item in enumerate(value)
        }
    found = map_of(_DEPENDENCY)(value, at)
    for dependency in found.values():
        dependency.setdefault("required", True)
    return dict(found)


_NETWORK = mapping(
    {
        "aliases": list_of(string),
        "interface_name": string,
        "ipv4_address": string,
        "ipv6_address": string,
        "link_local_ips": list_of(string),
        "mac_address": string,
        "driver_opts": map_of(scalar),
        "gw_priority": integer,
        "priority": integer,
    }
)


def networks(value: Any, at: At) -> dict[str, Any]:
    if isinstance(value, list):
        return {string(item, at / index): None for index, item in enumerate(value)}
    found: dict[str, Any] = map_of(optional(_NETWORK))(value, at)
    return found


def device(value: Any, at: At) -> dict[str, str]:
    """`source[:target[:permissions]]`; a name with `=` is a CDI device."""
    if isinstance(value, dict):
        found: dict[str, str] = mapping(
            {"source": string, "target": string, "permissions": string}, required=("source",)
        )(value, at)
        return {"target": found["source"], "permissions": "rwm"} | found
    source, _, rest = string(value, at).partition(":")
    target, _, permissions = rest.partition(":")
    if target and not target.startswith("/") and not permissions:
        target, permissions = "", target
    if not re.fullmatch(r"[rwm]*", permissions):
        at.fail(f"invalid device permissions {permissions!r}")
    return {"source": source, "target": target or source, "permissions": permissions or "rwm"}


def healthcheck_test(value: Any, at: At) -> list[str]:
    if isinstance(value, str):
        return ["CMD-SHELL", value]
    found: list[str] = list_of(scalar)(value, at)
    if found and found[0] not in ("NONE", "CMD", "CMD-SHELL"):
        at.fail('first element of test must be one of "NONE", "CMD", "CMD-SHELL"')
    return found


HEALTHCHECK = mapping(
    {
        "disable": boolean,
        "test": healthcheck_test,
        "interval": duration,
        "timeout": duration,
        "retries": integer,
        "start_period": duration,
        "start_interval": duration,
    }
)
_HOOK_FIELDS = {
    "command": command,
    "user": scalar,
    "privileged": boolean,
    "working_dir": string,
    "environment": key_values,
}
HOOK = mapping(_HOOK_FIELDS, required=("command",))
PRE_START = mapping({**_HOOK_FIELDS, "image": string, "per_replica": boolean})
LOGGING = mapping({"driver": string, "options": map_of(scalar)})
_DEVICE_REQUEST = mapping(
    {
        "capabilities": list_of(string),
        "count": scalar,
        "device_ids": list_of(string),
        "driver": string,
        "options": key_values,
    }
)


def decimal(value: Any, at: At) -> str:
    """A number as it is written."""
    number(value, at)
    return scalar(value, at)


_RESOURCES = {
    "cpus": decimal,
    "memory": size,
    "pids": integer,
    "devices": list_of(_DEVICE_REQUEST),
    "generic_resources": list_of(lambda value, at: value),
}
MAX_REPLICAS = 10_000


def replicas(value: Any, at: At) -> int:
    """How many containers of a service; more than any machine runs is a slip, refused before it is planned."""
    count = integer(value, at)
    if not 0 <= count <= MAX_REPLICAS:
        at.fail(f"must be between 0 and {MAX_REPLICAS}, not {count}")
    return count


_UPDATE = mapping(
    {
        "parallelism": integer,
        "delay": duration,
        "failure_action": string,
        "monitor": duration,
        "max_failure_ratio": number,
        "order": one_of("start-first", "stop-first"),
    }
)
DEPLOY = mapping(
    {
        "mode": one_of("global", "replicated", "replicated-job", "global-job"),
        "endpoint_mode": string,
        "replicas": replicas,
        "labels": labels,
        "rollback_config": _UPDATE,
        "update_config": _UPDATE,
        "resources": mapping({"limits": mapping(_RESOURCES), "reservations": mapping(_RESOURCES)}),
        "restart_policy": mapping(
            {
                "condition": one_of("none", "on-failure", "any"),
                "delay": duration,
                "max_attempts": integer,
                "window": duration,
            }
        ),
        "placement": mapping(
            {
                "constraints": list_of(string),
                "preferences": list_of(lambda value, at: value),
                "max_replicas_per_node": integer,
            }
        ),
    }
)
_WATCH = mapping(
    {
        "path": path,
        "action": one_of("rebuild", "sync", "restart", "sync+restart", "sync+exec"),
        "target": string,
        "ignore": one_or_list(string),
        "include": one_or_list(string),
        "initial_sync": boolean,
        "exec": HOOK,
    },
    required=("path", "action"),
)


def extends(value: Any, at: At) -> dict[str, str]:
    if isinstance(value, str):
        return {"service": value}
    found: dict[str, str] = mapping({"service": string, "file": path}, required=("service",))(value, at)
    return found


def restart(value: Any, at: At) -> str:
    text = "no" if value is False else string(value, at)
    if not re.fullmatch(r"no|always|unless-stopped|on-failure(:\d+)?", text):
        at.fail(f'invalid restart policy: unknown policy "{text}"')
    return text


def profile(value: Any, at: At) -> str:
    text = string(value, at)
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", text):
        at.fail(f"invalid profile name {text!r}: it must begin with a letter or digit, followed by those, _, . or -")
    return text


def pull_policy(value: Any, at: At) -> str:
    text = string(value, at)
    if text.startswith("every_"):
        duration(text.removeprefix("every_"), at)
    elif text not in ("always", "never", "missing", "if_not_present", "build", "daily", "weekly", "refresh"):
        known = "always, never, missing, build, refresh, daily, weekly, every_<duration>"
        at.fail(f'invalid pull_policy "{text}": must be one of {known}')
    return "missing" if text == "if_not_present" else text


def models(value: Any, at: At) -> Any:
    return value if isinstance(value, list | dict) else at.fail(f"must be an array or a mapping, not {kind(value)}")


def gpus(value: Any, at: At) -> Any:
    return value if value == "all" else list_of(_DEVICE_REQUEST)(value, at)


_WEIGHT = mapping({"path": string, "weight": integer}, required=("path", "weight"))
_RATE = mapping({"path": string, "rate": size}, required=("path", "rate"))

SERVICE_FIELDS: dict[str, Converter] = {
    "annotations": labels,
    "attach": boolean,
    "blkio_config": mapping(
        {
            "weight": integer,
            "weight_device": list_of(_WEIGHT),
            **{f"device_{way}_{unit}": list_of(_RATE) for way in ("read", "write") for unit in ("bps", "iops")},
        }
    ),
    "build": build,
    "cap_add": list_of(string),
    "cap_drop": list_of(string),
    "cgroup": one_of("host", "private"),
    "cgroup_parent": string,
    "command": command,
    "configs": list_of(grant),
    "container_name": string,
    "cpu_count": integer,
    "cpu_percent": number,
    "cpu_period": microseconds,
    "cpu_quota": microseconds,
    "cpu_rt_period": microseconds,
    "cpu_rt_runtime": microseconds,
    "cpu_shares": integer,
    "cpus": number,
    "cpuset": scalar,
    "credential_spec": mapping({"config": string, "file": string, "registry": string}),
    "depends_on": depends_on,
    "deploy": DEPLOY,
    "develop": mapping({"watch": list_of(_WATCH)}),
    "device_cgroup_rules": list_of(string),
    "devices": list_of(device),
    "dns": one_or_list(string),
    "dns_opt": list_of(string),
    "dns_search": one_or_list(string),
    "domainname": string,
    "entrypoint": command,
    "env_file": env_file,
    "environment": key_values,
    "expose": expose,
    "extends": extends,
    "external_links": list_of(string),
    "extra_hosts": extra_hosts,
    "gpus": gpus,
    "group_add": list_of(scalar),
    "healthcheck": HEALTHCHECK,
    "hostname": string,
    "image": string,
    "init": boolean,
    "ipc": string,
    "isolation": string,
    "label_file": one_or_list(path),
    "labels": labels,
    "links": list_of(string),
    "logging": LOGGING,
    "mac_address": string,
    "mem_limit": size,
    "mem_reservation": size,
    "mem_swappiness": integer,
    "memswap_limit": size,
    "models": models,
    "network_mode": string,
    "networks": networks,
    "oom_kill_disable": boolean,
    "oom_score_adj": integer,
    "pid": string,
    "pids_limit": integer,
    "platform": string,
    "ports": ports,
    "post_start": list_of(HOOK),
    "pre_start": list_of(PRE_START),
    "pre_stop": list_of(HOOK),
    "privileged": boolean,
    "profiles": list_of(profile),
    "provider": mapping({"type": string, "options": lambda value, at: value}, required=("type",)),
    "pull_policy": pull_policy,
    "pull_refresh_after": duration,
    "read_only": boolean,
    "restart": restart,
    "runtime": string,
    "scale": replicas,
    "secrets": list_of(grant),
    "security_opt": list_of(string),
    "shm_size": size,
    "stdin_open": boolean,
    "stop_grace_period": duration,
    "stop_signal": string,
    "storage_opt": map_of(scalar),
    "sysctls": labels,
    "tmpfs": one_or_list(string),
    "tty": boolean,
    "ulimits": map_of(ulimit),
    "use_api_socket": boolean,
    "user": scalar,
    "userns_mode": string,
    "uts": string,
    "volumes": list_of(volume),
    "volumes_from": list_of(string),
    "working_dir": string,
}

service = mapping(SERVICE_FIELDS)
