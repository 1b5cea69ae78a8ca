"""The body of POST /containers/create, against bodies recorded from Docker's own client 28.2."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from wherry.cli.docker.container import create, run
from wherry.cli.docker.container.create_body import create_body
from wherry.cli.docker.errors import CliError
from wherry.cli.docker.flags import FlagError, parse, read_table

GOLDEN = json.loads((Path(__file__).parent / "golden" / "create_bodies.json").read_text())


def body_of(command: str) -> dict[str, Any]:
    verb, *words = shlex.split(command)
    module = run if verb == "run" else create
    flags, rest = parse(read_table(module.FLAGS, module.TYPES), words, types=module.TYPES, interspersed=False)
    body = create_body(flags, rest[0], rest[1:])
    if verb == "run" and flags["detach"]:
        body |= dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"), False)
    return body


def meaning(value: Any) -> Any:
    """Without what is the default of the API: null, empty, 0 and false."""
    if isinstance(value, dict):
        kept = {key: meaning(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", 0, False, [], [0, 0]) or item == {}}
    if isinstance(value, list):
        return [meaning(item) for item in value]
    return value


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["command"][:60])
def test_body_is_what_dockers_client_sends(case: dict[str, Any]) -> None:
    assert _without_empty(meaning(body_of(case["command"]))) == _without_empty(meaning(case["body"]))


def _without_empty(value: Any) -> Any:
    """Empty objects count only where they are keys that mean something (ports, volumes, endpoints)."""
    if isinstance(value, dict):
        keep = ("/", "default", "foo", "bar", "n")
        return {
            key: _without_empty(item)
            for key, item in value.items()
            if item != {} or any(mark in key for mark in keep if mark == "/" or mark == key)
        }
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("create -p abc x", "invalid containerPort: abc"),
        ("create -p 1.2.3:80:80 x", "invalid IP address: 1.2.3"),
        ("create -p 80-82:1-2 x", "invalid ranges specified for container and host Ports: 1-2 and 80-82"),
        ("create -p 70000:1 x", "invalid hostPort: 70000"),
        ("create --device a:b:c:d x", "bad format for path: a:b:c:d"),
        ("create --device /dev/null:x x", "x is not an absolute path"),
        (
            "create --restart on-failure:x x",
            "invalid restart policy format: maximum retry count must be an integer",
        ),
        ("create --security-opt foo x", 'Invalid --security-opt: "foo"'),
        ("create --log-driver none --log-opt a=b x", "invalid logging opts for driver none"),
        ("create --memory-swappiness 200 x", "invalid value: 200. Valid memory swappiness range is 0-100"),
        ("create --pid foo:x x", "--pid: invalid PID mode"),
        ("create --mac-address zz x", "zz is not a valid mac address"),
        ("create --env-file /nope x", "open /nope: no such file or directory"),
        ("create --health-cmd a --no-healthcheck x", "--no-healthcheck conflicts with --health-* options"),
        ("create --rm --restart always x", "conflicting options: cannot specify both --restart and --rm"),
        ("create --health-retries -1 x", "--health-retries cannot be negative"),
        ("create --storage-opt foo x", "invalid storage option"),
    ],
)
def test_wrong_settings_are_named(command: str, message: str) -> None:
    with pytest.raises(CliError) as caught:
        body_of(command)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("create --mount foo x", "invalid field 'foo' must be a key=value pair"),
        ("create --mount dst=/y,bar=1 x", "unexpected key 'bar' in 'bar=1'"),
        ("create --mount type=foo x", "target is required"),
        ("create --ulimit foo x", "invalid ulimit argument: foo"),
        ("create --ulimit foo=1 x", "invalid ulimit type: foo"),
        ("create --ulimit nofile=5:1 x", "ulimit soft limit must be less than or equal to hard limit: 5 > 1"),
        ("create --cpus x x", "failed to parse x as a rational number"),
        ("create --add-host foo x", 'bad format for add-host: "foo"'),
        ("create --dns x x", "IP address is not correctly formatted: x"),
        ("create -e =x x", "invalid environment variable: =x"),
        ("create --link a:b:c x", "bad format for links: a:b:c"),
        ("create --sysctl foo x", "sysctl 'foo' is not allowed"),
        ("create -m x x", "invalid size: 'x'"),
        ("create -a foo x", "valid streams are STDIN, STDOUT and STDERR"),
        ("create --gpus x x", 'invalid count (x): value must be either "all" or an integer: invalid syntax'),
    ],
)
def test_wrong_values_name_their_flag(command: str, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        body_of(command)
    assert str(caught.value).startswith("invalid argument ")
    assert str(caught.value).endswith(message)
