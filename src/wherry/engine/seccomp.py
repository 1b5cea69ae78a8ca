"""Seccomp: from a profile in Docker's form to the OCI runtime specification's, for this machine.

A profile's rules may hold for some architectures or capabilities only (`includes`, `excludes`); the OCI form has no
conditions, so they are resolved here. The default profile is the distribution's /usr/share/containers/seccomp.json.
Specified in the OCI runtime specification, config-linux, "Seccomp".
"""

import os
import re
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import orjson

from wherry.engine.errors import InvalidParameter

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")

_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "x86", "ppc64le": "ppc64le", "s390x": "s390x",
    "riscv64": "riscv64",
}  # fmt: skip
_SECCOMP_NAMES = {
    "amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64", "arm": "SCMP_ARCH_ARM", "x86": "SCMP_ARCH_X86",
    "ppc64le": "SCMP_ARCH_PPC64LE", "s390x": "SCMP_ARCH_S390X", "riscv64": "SCMP_ARCH_RISCV64",
}  # fmt: skip


def supported() -> bool:
    """Whether this kernel filters system calls."""
    return Path("/proc/sys/kernel/seccomp/actions_avail").exists()


@lru_cache(maxsize=32)
def default(capabilities: frozenset[str]) -> dict[str, Any] | None:
    """The default profile for a process with `capabilities`; None where the kernel or the profile is missing.

    The result is shared: never change it.
    """
    if not supported() or not DEFAULT_PROFILE.exists():
        return None
    return _convert(_read_default(), capabilities)


def custom(text: str, capabilities: Collection[str]) -> dict[str, Any]:
    """The profile in `text` (JSON, as `--security-opt seccomp=FILE` sends it). Raises InvalidParameter."""
    try:
        profile = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise InvalidParameter("Decoding seccomp profile failed: no defaultAction")
    return _convert(profile, frozenset(capabilities))


@cache
def _read_default() -> dict[str, Any]:
    profile: dict[str, Any] = orjson.loads(DEFAULT_PROFILE.read_bytes())
    return profile


def _convert(profile: Mapping[str, Any], capabilities: frozenset[str]) -> dict[str, Any]:
    architecture = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    result: dict[str, Any] = {"defaultAction": profile["defaultAction"]}
    if profile.get("defaultErrnoRet") is not None:
        result["defaultErrnoRet"] = profile["defaultErrnoRet"]
    if profile.get("flags"):
        result["flags"] = profile["flags"]
    if profile.get("architectures"):
        result["architectures"] = list(profile["architectures"])
    else:
        ours = _SECCOMP_NAMES.get(architecture)
        for entry in profile.get("archMap") or ():
            if entry.get("architecture") == ours:
                result["architectures"] = [ours, *(entry.get("subArchitectures") or ())]
    result["syscalls"] = [
        _rule(rule)
        for rule in profile.get("syscalls") or ()
        if _holds(rule.get("includes") or {}, architecture, capabilities)
        and not _excluded(rule.get("excludes") or {}, architecture, capabilities)
    ]
    return result


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    names = list(rule.get("names") or ())
    if rule.get("name"):
        names.append(rule["name"])
    converted: dict[str, Any] = {"names": names, "action": rule["action"]}
    if rule.get("args"):
        converted["args"] = [
            {key: argument[key] for key in ("index", "value", "valueTwo", "op") if argument.get(key) is not None}
            for argument in rule["args"]
        ]
    if rule.get("errnoRet") is not None:
        converted["errnoRet"] = rule["errnoRet"]
    return converted


def _holds(conditions: Mapping[str, Any], architecture: str, capabilities: frozenset[str]) -> bool:
    if conditions.get("arches") and architecture not in conditions["arches"]:
        return False
    if conditions.get("minKernel") and not _kernel_at_least(conditions["minKernel"]):
        return False
    return all(capability in capabilities for capability in conditions.get("caps") or ())


def _excluded(conditions: Mapping[str, Any], architecture: str, capabilities: frozenset[str]) -> bool:
    if architecture in (conditions.get("arches") or ()):
        return True
    if conditions.get("minKernel") and _kernel_at_least(conditions["minKernel"]):
        return True
    return any(capability in capabilities for capability in conditions.get("caps") or ())


def _kernel_at_least(wanted: str) -> bool:
    def version(text: str) -> tuple[int, int]:
        match = re.match(r"(\d+)\.(\d+)", text)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    return version(os.uname().release) >= version(wanted)
