"""Credentials on the client's side: config.json, helpers, headers."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from wherry.docker_api import credentials

HELPER = """\
#!/bin/sh
read server
case "$1 $server" in
"get helped.example") echo '{"Username": "me", "Secret": "word"}' ;;
"get token.example") echo '{"Username": "<token>", "Secret": "t"}' ;;
"get broken.example") echo nonsense ;;
*) echo "credentials not found"; exit 1 ;;
esac
"""


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


CONFIG: dict[str, Any] = {
    "auths": {
        credentials.INDEX: auth("hub:secret: with colon"),
        "https://plain.example/v1/": auth("a:b"),
        "identity.example": {"identitytoken": "i"},
        "empty.example": {},
    },
    "credHelpers": {
        "helped.example": "test",
        "token.example": "test",
        "none.example": "test",
        "broken.example": "test",
    },
}


@pytest.fixture(autouse=True)
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("docker.io", {"username": "hub", "password": "secret: with colon", "serveraddress": credentials.INDEX}),
        ("plain.example", {"username": "a", "password": "b", "serveraddress": "plain.example"}),
        ("identity.example", {"identitytoken": "i", "serveraddress": "identity.example"}),
        ("empty.example", {}),
        ("unknown.example", {}),
        ("helped.example", {"username": "me", "password": "word", "serveraddress": "helped.example"}),
        ("token.example", {"identitytoken": "t", "serveraddress": "token.example"}),
        ("none.example", {}),
    ],
)
def test_credentials_come_from_the_file_or_a_helper(server: str, found: dict[str, str]) -> None:
    assert credentials.credentials(CONFIG, server) == found


def test_a_helper_that_is_missing_or_talks_nonsense_is_named() -> None:
    with pytest.raises(credentials.CredentialsError, match="docker-credential-absent"):
        credentials.credentials({"credsStore": "absent"}, "x.example")
    with pytest.raises(credentials.CredentialsError, match=r"broken\.example: docker-credential-test"):
        credentials.credentials(CONFIG, "broken.example")


def test_a_build_gets_all_that_there_is() -> None:
    config = {**CONFIG, "credHelpers": {"helped.example": "test", "none.example": "test"}}
    header = credentials.build_header(config)["X-Registry-Config"]
    known = json.loads(base64.urlsafe_b64decode(header))
    assert set(known) == {credentials.INDEX, "https://plain.example/v1/", "identity.example", "helped.example"}


def test_the_file_may_be_missing_and_must_not_be_broken(tmp_path: Path) -> None:
    assert credentials.read(str(tmp_path)) == {}
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(credentials.CredentialsError, match=r"Error loading config file: .*config\.json"):
            credentials.read(str(tmp_path))
