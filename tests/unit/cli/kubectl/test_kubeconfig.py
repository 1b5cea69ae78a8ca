"""Several kubeconfig files are one: the first that sets something wins; paths are relative to their file."""

from pathlib import Path

import pytest

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Options, parse
from wherry.cli.kubectl.http import encode, split_url
from wherry.cli.kubectl.kubeconfig import Access, load

FIRST = """
current-context: one
contexts: [{name: one, context: {cluster: c, user: u, namespace: team}}]
clusters: [{name: c, cluster: {server: "https://first:6443", certificate-authority: ca.crt}}]
"""
SECOND = """
current-context: two
contexts: [{name: one, context: {cluster: other}}, {name: two, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: secret}}]
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    (tmp_path / "first").write_text(FIRST)
    (tmp_path / "second").write_text(SECOND)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/first:{tmp_path}/missing:{tmp_path}/second")
    return parse([], ())


def test_files_merge(options: Options, tmp_path: Path) -> None:
    config = load(options)
    assert config["current-context"] == "one"
    assert config["contexts"]["one"]["cluster"] == "c"
    assert config["clusters"]["c"]["certificate-authority"] == f"{tmp_path}/ca.crt"
    access = Access(options)
    assert (access.server, access.namespace, access.user["token"]) == ("https://first:6443", "team", "secret")


def test_flags_lie_over_the_files(options: Options) -> None:
    options.values.update({"context": "two", "namespace": "other", "token": "mine", "as": "bob"})
    access = Access(options)
    assert (access.namespace, access.user["token"], access.user["as"]) == ("other", "mine", "bob")


def test_a_context_that_does_not_exist(options: Options) -> None:
    options.values["context"] = "nope"
    with pytest.raises(KubectlError, match='context "nope" does not exist'):
        Access(options)


def test_urls_of_servers() -> None:
    assert split_url("https://10.0.0.1:6443") == (True, "10.0.0.1", 6443, "")
    assert split_url("https://[::1]/k8s/c-1") == (True, "::1", 443, "/k8s/c-1")
    assert split_url("http://host") == (False, "host", 80, "")
    with pytest.raises(KubectlError):
        split_url("https://host:port")


def test_queries_are_encoded() -> None:
    assert encode({"labelSelector": "a=b,c in (d)", "command": ["sh", "-c"]}) == (
        "labelSelector=a%3Db%2Cc%20in%20%28d%29&command=sh&command=-c"
    )
