"""Kubeconfig files: where they are, how several merge, and how a change is written back.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/. Of several files named by
KUBECONFIG the first that sets something wins; relative paths are relative to the file that names them.
"""

import os
from typing import Any

from wherry.cli import hints
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Options

Config = dict[str, Any]
SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def files(options: Options) -> list[str]:
    """The files that count, first wins."""
    if options["kubeconfig"]:
        return [options["kubeconfig"]]
    listed = [path for path in os.environ.get("KUBECONFIG", "").split(":") if path]
    if listed:
        return listed
    own = os.path.join(os.path.expanduser("~"), ".kube", "config")
    # The program `kubectl` of an instance knows its instance: that is meant where nothing else is configured.
    root = os.environ.get("WHERRY_ROOT", "")
    instance = os.path.join(root, "kubeconfig")
    return [instance] if root and not os.path.exists(own) else [own]


def read(path: str) -> Config | None:
    """One file; None when it does not exist."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        closed = isinstance(error, PermissionError) and hints.cluster([path])
        raise KubectlError(
            f'error loading config file "{path}": open {path}: {(error.strerror or "").lower()}'
            + ("\nIt is root's: run the command with sudo" if closed else "")
        ) from error
    config: Any = _json(text)
    if config is None:
        import yaml

        try:
            config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise KubectlError(f'error loading config file "{path}": yaml: {error}') from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise KubectlError(f'error loading config file "{path}": not a kubeconfig')
    return config


def _json(text: bytes) -> Any:
    """JSON, which costs less than YAML; None when the text is none."""
    if text.lstrip()[:1] != b"{":
        return None
    import json

    try:
        return json.loads(text)
    except ValueError:
        return None


def load(options: Options, *, resolve: bool = True) -> Config:
    """All files merged: `clusters`, `users` and `contexts` are dicts by name here; `current-context` a string.

    `resolve` makes the paths in them absolute.
    """
    paths = files(options)
    merged: Config = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    for path in paths:
        config = read(path)
        if config is None:
            if options["kubeconfig"]:
                raise KubectlError(f"stat {path}: no such file or directory")
            continue
        base = os.path.dirname(os.path.abspath(path))
        merged["current-context"] = merged["current-context"] or config.get("current-context") or ""
        for section, field in SECTIONS.items():
            for entry in config.get(section) or ():
                if not isinstance(entry, dict) or entry.get("name") in merged[section]:
                    continue
                value = dict(entry.get(field) or {})
                for key in _PATHS if resolve else ():
                    if value.get(key) and not os.path.isabs(value[key]):
                        value[key] = os.path.join(base, value[key])
                merged[section][entry.get("name")] = value
        for key in ("preferences", "extensions"):
            if config.get(key) and key not in merged:
                merged[key] = config[key]
    return merged


class Access:
    """Where the server is and who we are: the chosen context with the flags laid over it."""

    def __init__(self, options: Options) -> None:
        config = load(options)
        name = options.shared("context") or config["current-context"]
        if name and name not in config["contexts"] and options.shared("context"):
            raise KubectlError(f'context "{name}" does not exist')
        context: Config = config["contexts"].get(name, {})
        self.cluster: Config = self._section(
            config, "clusters", "cluster", options.shared("cluster") or context.get("cluster")
        )
        self.user: Config = self._section(config, "users", "auth info", options.shared("user") or context.get("user"))
        self.namespace: str = (
            options.shared("namespace") or context.get("namespace") or _own_namespace(config) or "default"
        )
        server = options.shared("server") or self.cluster.get("server") or _in_cluster(config, self, options)
        self.server: str = str(server)
        if not self.server.startswith(("http://", "https://")):
            self.server = "http://" + self.server
        self.server = self.server.rstrip("/")
        if options.shared("insecure-skip-tls-verify"):
            self.cluster = {k: v for k, v in self.cluster.items() if not k.startswith("certificate-authority")}
            self.cluster["insecure-skip-tls-verify"] = True
        for key in ("certificate-authority", "tls-server-name"):
            if options.shared(key):
                self.cluster = {**self.cluster, f"{key}-data": None, key: options.shared(key)}
        for key in ("client-certificate", "client-key"):
            if options.shared(key):
                self.user = {**self.user, f"{key}-data": None, key: options.shared(key)}
        if options.shared("token"):
            self.user = {**self.user, "token": options.shared("token"), "tokenFile": None}
        if options.shared("as"):
            self.user = {**self.user, "as": options.shared("as")}
        if options.shared("as-group"):
            self.user = {**self.user, "as-groups": options.shared("as-group")}
        if options.shared("as-uid"):
            self.user = {**self.user, "as-uid": options.shared("as-uid")}
        if (options.shared("as-group") or options.shared("as-uid")) and not self.user.get("as"):
            raise KubectlError("requesting uid, groups or user-extra for  without impersonating a user")

    @staticmethod
    def _section(config: Config, section: str, noun: str, name: str | None) -> Config:
        if not name:
            return {}
        if name not in config[section]:
            raise KubectlError(f'{noun} "{name}" does not exist')
        found: Config = config[section][name]
        return found


_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def _is_inside(config: Config) -> bool:
    return (
        not config["clusters"]
        and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
        and os.path.exists(f"{_SERVICE_ACCOUNT}/token")
    )


def _own_namespace(config: Config) -> str:
    if not _is_inside(config):
        return ""
    try:
        with open(f"{_SERVICE_ACCOUNT}/namespace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _in_cluster(config: Config, access: Access, options: Options) -> str:
    """The server of the pod that we run in; localhost:8080 otherwise, as kubectl has always done."""
    if not _is_inside(config):
        paths = files(options)
        if hint := hints.cluster(paths):
            raise KubectlError(f"no cluster was started here yet: there is no {paths[0]}\n{hint}")
        return "http://localhost:8080"
    access.cluster = {"certificate-authority": f"{_SERVICE_ACCOUNT}/ca.crt"}
    access.user = {"tokenFile": f"{_SERVICE_ACCOUNT}/token"}
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
