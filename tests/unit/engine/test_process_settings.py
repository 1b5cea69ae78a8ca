"""Users, capabilities, seccomp, signals, runtime errors: what a process in a container is, from texts alone."""

import pytest

from wherry.engine import capabilities, seccomp, signals, users
from wherry.engine.errors import InvalidParameter
from wherry.engine.runtime import create_error
from wherry.engine.users import User

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n#c\nbroken\n"
GROUP = "root:x:0:\napp:x:1001:\nvideo:x:44:app,other\ndisk:x:6:other\n"


@pytest.mark.parametrize(
    ("name", "extra", "expected"),
    [
        ("", (), User(0, 0, (), "/root")),
        ("app", (), User(1000, 1001, (44,), "/home/app")),
        ("1000", (), User(1000, 1001, (44,), "/home/app")),
        ("app:disk", (), User(1000, 6, (), "/home/app")),
        ("5:7", (), User(5, 7, (), "/")),
        ("5", ("video", "99"), User(5, 0, (44, 99), "/")),
    ],
)
def test_users_are_looked_up_in_the_container(name: str, extra: tuple[str, ...], expected: User) -> None:
    assert users.resolve(name, extra, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [("nobody", "unable to find user nobody: no matching entries in passwd file"),
     ("0:nogroup", "unable to find group nogroup: no matching entries in group file"),
     ("4294967296", "uids and gids must be in range 0-2147483647")],
)  # fmt: skip
def test_unknown_users_are_named(name: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        users.resolve(name, (), PASSWD, GROUP)


def test_capabilities_are_dockers_default_changed_by_add_and_drop() -> None:
    have = capabilities.available()
    default = [name for name in capabilities.DEFAULT if name in have]
    assert capabilities.effective((), (), privileged=False) == default
    assert "CAP_SYS_ADMIN" not in default
    changed = capabilities.effective(["net_admin"], ["CAP_CHOWN"], privileged=False)
    assert "CAP_NET_ADMIN" in changed
    assert "CAP_CHOWN" not in changed
    assert capabilities.effective(["NET_ADMIN"], ["ALL"], privileged=False) == ["CAP_NET_ADMIN"]
    assert set(capabilities.effective(["ALL"], [], privileged=False)) == have & set(capabilities.ALL)
    with pytest.raises(InvalidParameter, match='invalid capability: "BOGUS"'):
        capabilities.normalise(["BOGUS"])


def test_seccomp_conditions_are_resolved_for_the_capabilities_held() -> None:
    profile = (
        b'{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},'
        b'{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":[]}],"syscalls":['
        b'{"names":["read"],"action":"SCMP_ACT_ALLOW"},'
        b'{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},'
        b'{"names":["mount"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"excludes":{"caps":["CAP_SYS_ADMIN"]}},'
        b'{"names":["s390"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}}]}'
    ).decode()
    without = seccomp.custom(profile, [])
    assert [(rule["names"], rule["action"]) for rule in without["syscalls"]] == [
        (["read"], "SCMP_ACT_ALLOW"), (["mount"], "SCMP_ACT_ERRNO"),
    ]  # fmt: skip
    granted = seccomp.custom(profile, ["CAP_SYS_ADMIN"])
    assert [rule["action"] for rule in granted["syscalls"]] == ["SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW"]
    assert granted["architectures"]
    with pytest.raises(InvalidParameter, match="Decoding seccomp profile failed"):
        seccomp.custom("{", [])


def test_signals_by_name_and_number() -> None:
    assert [signals.parse(text) for text in ("SIGTERM", "term", "9", "RTMIN+3", "SIGRTMAX-1")] == [15, 15, 9, 37, 63]
    for bad in ("SIGBOGUS", "0", "65", "RTMIN+99", ""):
        with pytest.raises(InvalidParameter, match="invalid signal"):
            signals.parse(bad)


def test_runtime_errors_get_dockers_words() -> None:
    start = (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: "
        "runc create failed: unable to start container process: "
    )
    assert create_error("executable file `nosuch` not found in $PATH: No such file or directory", ["nosuch"]) == (
        start + 'exec: "nosuch": executable file not found in $PATH: unknown'
    )
    assert create_error("2026-01-01T00:00:00.000000Z: exec `/x`: Permission denied", ["/x"]).endswith(
        'exec: "/x": permission denied: unknown'
    )
    assert create_error("", ["x"]).endswith("unknown failure: unknown")
