"""`build` of a service: https://docs.docker.com/reference/compose-file/build/."""

import re
from typing import Any

from wherry.compose.convert import (
    At,
    absolute,
    boolean,
    key_values,
    labels,
    list_of,
    map_of,
    mapping,
    one_or_list,
    scalar,
    size,
    string,
)
from wherry.compose.shared_fields import extra_hosts, grant, ulimit


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


BUILD = mapping(
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
    found: dict[str, Any] = {"context": context(value, at)} if isinstance(value, str) else BUILD(value, at)
    found.setdefault("context", str(at.folder))
    if "dockerfile_inline" in found and "dockerfile" in found:
        at.fail("can't have both dockerfile and dockerfile_inline")
    if "dockerfile_inline" not in found:
        found.setdefault("dockerfile", "Dockerfile")
    return found
