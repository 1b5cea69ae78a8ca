"""The keys of a service, each with its converter: the whole `services` section of the Compose specification.

https://docs.docker.com/reference/compose-file/services/. Keys whose meaning Wherry cannot honour are in the table too
where it can at least carry them (`UNHONOURED` lists those, each with what is lost), so that no valid file is refused;
the caller warns of them by name.
"""

import re
from typing import Any

from wherry.compose.convert import (
    At,
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
    number,
    one_of,
    one_or_list,
    optional,
    path,
    scalar,
    size,
    string,
)

UNHONOURED = {
    "credential_spec": "Windows only",
    "isolation": "Windows only",
    "cpu_count": "Windows only",
    "cpu_percent": "Windows only",
    "models": "no model runner",
    "provider": "no provider plugins",
    "use_api_socket": "the engine's socket is not shared with containers",
    "gpus": "no GPU runtime",
    "storage_opt": "the overlay snapshotter has no size limit",
}


def port(value: Any, at: At) -> list[dict[str, Any]]:
    """`[host_ip:][published:]target[/protocol]`, with ranges, as one entry per target port, or the long form."""
    if isinstance(value, dict):
        found = _PORT(value, at)
        found.setdefault("mode", "ingress")
        found.setdefault("protocol", "tcp")
        return [found]
    return _short_ports(scalar(value, at), at)


_PORT = mapping(
    {
        "name": string,
        "mode": string,
        "host_ip": string,
        "target": integer,
        "published": scalar,
        "protocol": string,
        "app_protocol": string,
    },
    required=("target",),
)


def _short_ports(text: str, at: At) -> list[dict[str, Any]]:
    rest, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        at.fail(f"Invalid proto: {protocol}")
    host_ip = published = ""
    if rest.startswith("["):  # an IPv6 address
        host_ip, closed, rest = rest[1:].partition("]:")
        if not closed:
            at.fail(f"Invalid ip address: {text}")
        published, _, target = rest.rpartition(":")
    else:
        front, _, target = rest.rpartition(":")
        host_ip, _, published = front.rpartition(":")
    targets = _port_range(target, at, text)
    entries: list[dict[str, Any]] = []
    outside = _port_range(published, at, text) if published else []
    if outside and len(outside) != len(targets) and len(targets) != 1:
        at.fail(f"Invalid ranges specified for container and host Ports: {target} and {published}")
    for index, inside in enumerate(targets):
        entry: dict[str, Any] = {"mode": "ingress", "target": inside, "protocol": protocol}
        if host_ip:
            entry["host_ip"] = host_ip
        if outside:
            entry["published"] = published if len(targets) == 1 else str(outside[index])
        entries.append(entry)
    return entries


def _port_range(text: str, at: At, whole: str) -> list[int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        at.fail(f"Invalid containerPort: {whole}" if text else f"No port specified: {whole}<empty>")
    first, last = int(match[1]), int(match[2] or match[1])
    if not (0 < first <= last <= 65535):
        at.fail(f"Invalid port range: {text}")
    return list(range(first, last + 1))


def ports(value: Any, at: At) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        at.fail(f"must be an array, not {kind(value)}")
    return [entry for index, item in enumerate(value) for entry in port(item, at / index)]


_BIND_OPTIONS = {"propagation": string, "create_host_path": boolean, "selinux": string, "recursive": string}
_VOLUME = mapping(
    {
        "type": one_of("bind", "volume", "tmpfs", "npipe", "cluster", "image"),
        "source": string,
        "target": string,
        "read_only": boolean,
        "consistency": string,
        "bind": mapping(_BIND_OPTIONS),
        "volume": mapping({"nocopy": boolean, "subpath": string, "labels": labels}),
        "tmpfs": mapping({"size": size, "mode": integer}),
        "image": mapping({"subpath": string}),
    },
    required=("type",),
)
_VOLUME_MODES = {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"}
_PROPAGATION = {"shared", "rshared", "slave", "rslave", "private", "rprivate"}


def volume(value: Any, at: At) -> dict[str, Any]:
    """`[source:]target[:mode]` or the long form; relative sources become absolute paths."""
    if isinstance(value, dict):
        found: dict[str, Any] = _VOLUME(value, at)
        if found["type"] == "bind" and found.get("source"):
            found["source"] = absolute(found["source"], at.folder)
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


def grant(value: Any, at: At) -> dict[str, Any]:
    """A config or secret of a service: its name, or the long form."""
    if isinstance(value, str):
        return {"source": value}
    found: dict[str, Any] = mapping(
        {"source": string, "target": string, "uid": scalar, "gid": scalar, "mode": file_mode}, required=("source",)
    )(value, at)
    return found


def file_mode(value: Any, at: At) -> str:
    """A file mode as an octal string; a number in the file was written in octal or is taken as decimal."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"0{value:o}"
    text = scalar(value, at)
    if not re.fullmatch(r"0?o?[0-7]{1,4}", text):
        at.fail(f"invalid file mode {text!r}")
    return text


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


def extra_hosts(value: Any, at: At) -> dict[str, list[str]]:
    """`name:address`, `name=address`, or a mapping; one name may have several addresses."""
    found: dict[str, list[str]] = {}
    if isinstance(value, dict):
        for name, addresses in value.items():
            found[str(name)] = [one.strip("[]") for one in one_or_list(string)(addresses, at / name)]
        return found
    for index, item in enumerate(list_of(string)(value, at)):
        name, separator, address = item.partition("=")
        if not separator:
            name, separator, address = item.partition(":")
        if not separator or not name or not address:
            (at / index).fail(f"bad host name '{item}': name=address is needed")
        found.setdefault(name, []).append(address.strip("[]"))
    return found


def ulimit(value: Any, at: At) -> Any:
    if isinstance(value, dict):
        return mapping({"soft": integer, "hard": integer}, required=("soft", "hard"))(value, at)
    return integer(value, at)


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
_HOOK = mapping(
    {
        "command": command,
        "user": scalar,
        "privileged": boolean,
        "working_dir": string,
        "environment": key_values,
        "per_replica": boolean,
        "image": string,
    },
    required=("command",),
)
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
_RESOURCES = {
    "cpus": scalar,
    "memory": size,
    "pids": integer,
    "devices": list_of(_DEVICE_REQUEST),
    "generic_resources": list_of(lambda value, at: value),
}
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
        "replicas": integer,
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
        "exec": _HOOK,
    },
    required=("path", "action"),
)


def context(value: Any, at: At) -> str:
    """A build context: a folder (made absolute), or an address that the builder is to judge."""
    text = string(value, at)
    return text if re.match(r"[a-z+]+://|git@|github\.com/", text) else absolute(text, at.folder)


def additional_contexts(value: Any, at: At) -> dict[str, str]:
    found = {}
    for name, source in labels(value, at).items():
        remote = re.match(r"[a-z+-]+:", source)
        found[name] = source if remote else absolute(source, at.folder)
    return found


def ssh(value: Any, at: At) -> dict[str, str | None]:
    return key_values([value] if isinstance(value, str) else value, at)


_BUILD = mapping(
    {
        "context": context,
        "dockerfile": string,
        "dockerfile_inline": string,
        "args": key_values,
        "ssh": ssh,
        "labels": labels,
        "cache_from": list_of(string),
        "cache_to": list_of(string),
        "no_cache": boolean,
        "no_cache_filter": one_or_list(string),
        "additional_contexts": additional_contexts,
        "network": string,
        "provenance": scalar,
        "sbom": scalar,
        "pull": boolean,
        "target": string,
        "shm_size": size,
        "extra_hosts": extra_hosts,
        "isolation": string,
        "privileged": boolean,
        "secrets": list_of(grant),
        "tags": list_of(string),
        "ulimits": map_of(ulimit),
        "platforms": list_of(string),
        "entitlements": list_of(string),
    }
)


def build(value: Any, at: At) -> dict[str, Any]:
    found: dict[str, Any] = {"context": context(value, at)} if isinstance(value, str) else _BUILD(value, at)
    found.setdefault("context", str(at.folder))
    if "dockerfile_inline" in found and "dockerfile" in found:
        at.fail("can't have both dockerfile and dockerfile_inline")
    if "dockerfile_inline" not in found:
        found.setdefault("dockerfile", "Dockerfile")
    return found


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


def pull_policy(value: Any, at: At) -> str:
    text = string(value, at)
    if text.startswith("every_"):
        duration(text.removeprefix("every_"), at)
    elif text not in ("always", "never", "missing", "if_not_present", "build", "daily", "weekly"):
        known = "always, never, missing, build, daily, weekly, every_<duration>"
        at.fail(f'invalid pull_policy "{text}": must be one of {known}')
    return "missing" if text == "if_not_present" else text


def models(value: Any, at: At) -> Any:
    return value if isinstance(value, list | dict) else at.fail(f"must be an array or a mapping, not {kind(value)}")


def gpus(value: Any, at: At) -> Any:
    return value if value == "all" else list_of(_DEVICE_REQUEST)(value, at)


_WEIGHT = mapping({"path": string, "weight": integer})
_RATE = mapping({"path": string, "rate": size})

SERVICE_FIELDS = {
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
    "cpu_period": scalar,
    "cpu_quota": scalar,
    "cpu_rt_period": scalar,
    "cpu_rt_runtime": scalar,
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
    "expose": list_of(scalar),
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
    "post_start": list_of(_HOOK),
    "pre_stop": list_of(_HOOK),
    "privileged": boolean,
    "profiles": list_of(string),
    "provider": mapping({"type": string, "options": lambda value, at: value}),
    "pull_policy": pull_policy,
    "read_only": boolean,
    "restart": restart,
    "runtime": string,
    "scale": integer,
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
