"""Seccomp profiles compiled once, so that no container's start waits for it.

Compiling the default profile takes crun about 20 ms, which is more than all else that it does. crun takes a ready
program from the annotation `run.oci.seccomp_bpf_data` (base64) instead. The compiler is the same libseccomp that crun
uses, called with the same rules in the same order. Specified in seccomp_export_bpf(3) and crun(1).
"""

import base64
import ctypes
import logging
import os
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

_log = logging.getLogger(__name__)

ANNOTATION = "run.oci.seccomp_bpf_data"

_EPERM = 1
_ACTIONS = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000, "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}  # fmt: skip
_WITH_NUMBER = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
_UNKNOWN_SYSCALL = -1
_KEPT = 16

_programs: dict[bytes, str] = {}
"""Finished programs by the profile's JSON: a memo, with nothing of any instance in it."""
_guard = threading.Lock()


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


class _Unsupported(Exception):
    """The library, or something in the profile, is not what this compiler knows: the runtime compiles it itself."""


def compiled(profile: Mapping[str, Any]) -> str | None:
    """The program of an OCI profile for `ANNOTATION`; None when the runtime must compile it itself.

    The first call for a profile takes some 20 ms of processor time: call it in a thread.
    """
    if profile.get("flags") or profile.get("listenerPath"):
        return None
    key = orjson.dumps(profile, option=orjson.OPT_SORT_KEYS)
    with _guard:
        known = _programs.get(key)
        if known is None:
            try:
                known = base64.b64encode(_compile(profile)).decode()
            except _Unsupported as error:
                _log.info("seccomp: the runtime compiles the profile: %s", error)
                known = ""
            if len(_programs) >= _KEPT:
                del _programs[next(iter(_programs))]
            _programs[key] = known
    return known or None


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.restype = None
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
    ]  # fmt: skip
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def _compile(profile: Mapping[str, Any]) -> bytes:
    library = _library()
    if library is None:
        raise _Unsupported("libseccomp is not installed")
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = library.seccomp_init(default)
    if not context:
        raise _Unsupported("seccomp_init failed")
    try:
        for name in profile.get("architectures") or ():
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if not token:
                raise _Unsupported(f"unknown architecture {name}")
            library.seccomp_arch_add(context, token)
        for rule in profile.get("syscalls") or ():
            _add(library, context, rule, default)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, rule: Mapping[str, Any], default: int) -> None:
    action = _action(rule["action"], rule.get("errnoRet"))
    if action == default:
        return
    comparisons = [_comparison(argument) for argument in rule.get("args") or ()]
    # Two conditions on one argument cannot stand in one rule: each gets a rule of its own, as with runc and crun.
    indices = [comparison.argument for comparison in comparisons]
    groups = [comparisons] if len(set(indices)) == len(indices) else [[each] for each in comparisons]
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            continue
        for group in groups:
            array = (_Comparison * len(group))(*group)
            result = library.seccomp_rule_add_array(context, action, number, len(group), array)
            if result < 0:
                raise _Unsupported(f"rule for {name}: {os.strerror(-result)}")


def _comparison(argument: Mapping[str, Any]) -> _Comparison:
    operator = _OPERATORS.get(argument["op"])
    if operator is None:
        raise _Unsupported(f"unknown operator {argument['op']}")
    return _Comparison(argument["index"], operator, argument.get("value", 0), argument.get("valueTwo", 0))


def _action(name: str, number: int | None) -> int:
    if name not in _ACTIONS:
        raise _Unsupported(f"action {name}")
    if name in _WITH_NUMBER:
        return _ACTIONS[name] | (_EPERM if number is None else number) & 0xFFFF
    return _ACTIONS[name]


def _export(library: ctypes.CDLL, context: int) -> bytes:
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        result = library.seccomp_export_bpf(context, descriptor)
        if result < 0:
            raise _Unsupported(f"export: {os.strerror(-result)}")
        size = os.lseek(descriptor, 0, os.SEEK_END)
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)
