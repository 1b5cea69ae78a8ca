"""`kubectl config set-…`, `use-context`, `rename-context`, `delete-…`, `set`, `unset`: they write the file."""

import base64
import os
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.kubeconfig import SECTIONS, Config, files, read
from wherry.cli.kubectl.session import Session

HELP = "Change a kubeconfig file: the one that holds the entry, or the first of KUBECONFIG."
USAGE = "NAME [flags]"
FLAGS = (
    Flag("current", "", "bool", False, "set-context: change the current context."),
    Flag("embed-certs", "", "opt:true", "", "Put the contents of certificate files into the kubeconfig."),
    Flag("username", "", "str", "", "set-credentials: the user name of basic authentication."),
    Flag("password", "", "str", "", "set-credentials: the password of basic authentication."),
    Flag("proxy-url", "", "str", "", "set-cluster: the URL of a proxy."),
    Flag("set-raw-bytes", "", "bool", False, "set: the value is base64."),
)


class File:
    """One kubeconfig file as it stands, to be changed and written back."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.config: Config = read(path) or {}

    def entries(self, section: str) -> list[dict[str, Any]]:
        found = self.config.get(section)
        if not isinstance(found, list):
            found = self.config[section] = []
        return found

    def find(self, section: str, name: str) -> dict[str, Any] | None:
        return next((entry for entry in self.entries(section) if entry.get("name") == name), None)

    def write(self) -> None:
        from wherry.cli.kubectl.yamlio import dump

        config = {"apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": "", **self.config}
        for section in SECTIONS:
            config[section] = sorted(config.get(section) or [], key=lambda entry: str(entry["name"])) or None
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        temporary = f"{self.path}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(dump(config))
        os.replace(temporary, self.path)


def _files(session: Session) -> list[File]:
    return [File(path) for path in files(session.options)]


def _holding(found: list[File], section: str, name: str) -> File:
    """The file that holds an entry; else the first that exists, or the first."""
    for file in found:
        if file.find(section, name) is not None:
            return file
    return next((file for file in found if os.path.exists(file.path)), found[-1])


def run(session: Session) -> int:
    verb = session.command.split()[-1]
    found = _files(session)
    arguments = session.options.arguments
    if verb in ("use-context", "use"):
        return _use(found, arguments)
    if verb.startswith("delete-"):
        return _delete(found, verb[7:], arguments)
    if verb == "rename-context":
        return _rename(found, arguments)
    if verb == "set-context":
        return _set_context(session, found, arguments)
    if verb == "set-cluster":
        return _set_cluster(session, found, arguments)
    if verb == "set-credentials":
        return _set_credentials(session, found, arguments)
    return _set(session, found, verb, arguments)


def _one(arguments: list[str]) -> str:
    if len(arguments) != 1:
        raise UsageError(f"Unexpected args: [{' '.join(arguments)}]")
    return arguments[0]


def _use(found: list[File], arguments: list[str]) -> int:
    name = _one(arguments)
    if not any(file.find("contexts", name) is not None for file in found):
        raise KubectlError(f'no context exists with the name: "{name}"')
    file = next((file for file in found if file.config.get("current-context")), _holding(found, "contexts", name))
    file.config["current-context"] = name
    file.write()
    print(f'Switched to context "{name}".')
    return 0


def _delete(found: list[File], noun: str, arguments: list[str]) -> int:
    name = _one(arguments)
    section = f"{noun}s"
    file = _holding(found, section, name)
    entry = file.find(section, name)
    if entry is None:
        raise KubectlError(f"cannot delete {noun} {name}, not in {file.path}")
    if noun == "context" and any(one.config.get("current-context") == name for one in found):
        import sys

        print(
            'warning: this removed your active context, use "kubectl config use-context" to select a different one',
            file=sys.stderr,
        )
    file.entries(section).remove(entry)
    file.write()
    print(f"deleted {noun} {name} from {file.path}")
    return 0


def _rename(found: list[File], arguments: list[str]) -> int:
    if len(arguments) != 2:
        raise UsageError(f"Unexpected args: [{' '.join(arguments)}]")
    old, new = arguments
    file = _holding(found, "contexts", old)
    entry = file.find("contexts", old)
    if entry is None:
        raise KubectlError(f'cannot rename the context "{old}", it\'s not in {file.path}')
    if any(one.find("contexts", new) is not None for one in found):
        raise KubectlError(f'cannot rename the context "{old}", the context "{new}" already exists in {file.path}')
    entry["name"] = new
    for one in found:
        if one.config.get("current-context") == old:
            one.config["current-context"] = new
            if one is not file:
                one.write()
    file.write()
    print(f'Context "{old}" renamed to "{new}".')
    return 0


def _entry(found: list[File], section: str, name: str) -> tuple[File, dict[str, Any], bool]:
    """The file, the entry's value, and whether it was there before."""
    file = _holding(found, section, name)
    entry = file.find(section, name)
    exists = entry is not None
    if entry is None:
        entry = {"name": name, SECTIONS[section]: {}}
        file.entries(section).append(entry)
    value = entry.get(SECTIONS[section])
    if not isinstance(value, dict):
        value = entry[SECTIONS[section]] = {}
    return file, value, exists


def _set_context(session: Session, found: list[File], arguments: list[str]) -> int:
    options = session.options
    if options["current"]:
        if arguments:
            raise UsageError("you cannot specify both a context name and --current")
        current = next((file.config["current-context"] for file in found if file.config.get("current-context")), "")
        if not current:
            raise KubectlError("no current context is set")
        name = current
    elif not arguments:
        raise KubectlError("you must specify a non-empty context name or --current")
    else:
        name = _one(arguments)
    file, value, exists = _entry(found, "contexts", name)
    for flag in ("cluster", "user", "namespace"):
        if flag in options.changed:
            _assign(value, flag, options[flag])
    file.write()
    print(f'Context "{name}" {"modified" if exists else "created"}.')
    return 0


def _assign(value: dict[str, Any], key: str, new: Any) -> None:
    if new == "" or new is False:
        value.pop(key, None)
    else:
        value[key] = new


def _certificate(session: Session, value: dict[str, Any], flag: str) -> None:
    options = session.options
    if flag not in options.changed:
        return
    path = options[flag]
    value.pop(f"{flag}-data", None)
    if options["embed-certs"] == "true" and path:
        try:
            with open(path, "rb") as file:
                value[f"{flag}-data"] = base64.b64encode(file.read()).decode()
        except OSError as error:
            raise KubectlError(
                f"could not read {flag} data from {path}: open {path}: {(error.strerror or '').lower()}"
            ) from error
        value.pop(flag, None)
    else:
        _assign(value, flag, os.path.abspath(path) if path else "")


def _set_cluster(session: Session, found: list[File], arguments: list[str]) -> int:
    options = session.options
    name = _one(arguments)
    file, value, _ = _entry(found, "clusters", name)
    for flag in ("server", "tls-server-name", "proxy-url"):
        if flag in options.changed:
            _assign(value, flag, options[flag])
    if "insecure-skip-tls-verify" in options.changed:
        _assign(value, "insecure-skip-tls-verify", options["insecure-skip-tls-verify"])
        if options["insecure-skip-tls-verify"]:
            value.pop("certificate-authority", None)
            value.pop("certificate-authority-data", None)
    _certificate(session, value, "certificate-authority")
    file.write()
    print(f'Cluster "{name}" set.')
    return 0


def _set_credentials(session: Session, found: list[File], arguments: list[str]) -> int:
    options = session.options
    if len(arguments) != 1:
        raise UsageError(f"unexpected args: [{' '.join(arguments)}]")
    name = arguments[0]
    file, value, _ = _entry(found, "users", name)
    for flag in ("token", "username", "password"):
        if flag in options.changed:
            _assign(value, flag, options[flag])
    # One way to sign in takes the place of another.
    basic = {"username", "password"} & set(options.changed)
    if "token" in options.changed:
        value.pop("tokenFile", None)
        if not basic:
            value.pop("username", None)
            value.pop("password", None)
    elif basic:
        value.pop("token", None)
        value.pop("tokenFile", None)
    for flag in ("client-certificate", "client-key"):
        _certificate(session, value, flag)
    file.write()
    print(f'User "{name}" set.')
    return 0


def _set(session: Session, found: list[File], verb: str, arguments: list[str]) -> int:
    """`set users.me.token abc`, `unset current-context`."""
    if len(arguments) != (2 if verb == "set" else 1):
        raise UsageError(f"Unexpected args: [{' '.join(arguments)}]")
    words = arguments[0].split(".")
    section = words[0]
    if section not in SECTIONS:
        file = found[0]
        if section not in ("current-context", "kind", "apiVersion", "preferences"):
            raise KubectlError(f"unable to parse path {arguments[0]!r}: unknown property {section}".replace("'", '"'))
        if verb == "set":
            file.config[section] = arguments[1]
        else:
            file.config.pop(section, None)
    else:
        if verb == "unset" and len(words) == 1:
            found[0].config[section] = []
            found[0].write()
            print(f'Property "{arguments[0]}" unset.')
            return 0
        if len(words) < 3 and verb == "set":
            raise KubectlError(f"invalid property name {arguments[0]}: it must be SECTION.NAME.FIELD")
        # A name may hold dots: an entry that exists decides where the name ends.
        name, key = ".".join(words[1:-1]), words[-1]
        if verb == "unset" and any(one.find(section, ".".join(words[1:])) for one in found):
            name, key = ".".join(words[1:]), ""
        if verb == "unset" and not any(one.find(section, name) for one in found):
            print(f'Property "{arguments[0]}" unset.')
            return 0
        file, value, _ = _entry(found, section, name)
        if verb == "set":
            value[key] = (
                arguments[1] if not session.options["set-raw-bytes"] else base64.b64decode(arguments[1]).decode()
            )
            if key == "insecure-skip-tls-verify":
                value[key] = arguments[1] == "true"
        elif key:
            value.pop(key, None)
        else:
            entry = file.find(section, name)
            if entry is not None:
                file.entries(section).remove(entry)
    file.write()
    print(f'Property "{arguments[0]}" {"set" if verb == "set" else "unset"}.')
    return 0
