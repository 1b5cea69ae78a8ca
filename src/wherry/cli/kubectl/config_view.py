"""`kubectl config view`."""

from typing import Any

from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.kubeconfig import SECTIONS, files, load, read
from wherry.cli.kubectl.session import PRINTING, Session

HELP = "Display merged kubeconfig settings or a specified kubeconfig file. Secrets are left out unless --raw is given."
USAGE = ""
FLAGS = (
    *PRINTING,
    Flag("flatten", "", "bool", False, "Put the contents of files into the output."),
    Flag("merge", "", "bool", True, "Merge all the files."),
    Flag("minify", "", "bool", False, "Only what the current context uses."),
    Flag("raw", "", "bool", False, "Show certificates, keys and tokens."),
)
_FILES = ("certificate-authority", "client-certificate", "client-key")


def run(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise UsageError(f"unexpected arguments: [{' '.join(options.arguments)}]")
    config = load(options, resolve=options["flatten"])
    if not options["merge"]:
        path = files(options)[0]
        single = read(path) or {}
        config = {**config, "current-context": single.get("current-context") or ""}
        for section, field in SECTIONS.items():
            config[section] = {entry["name"]: entry.get(field) or {} for entry in single.get(section) or ()}
    current = options.shared("context") or config["current-context"]
    if options["minify"]:
        if not current:
            raise KubectlError("current-context must exist in order to minify")
        context = config["contexts"].get(current)
        if context is None:
            raise KubectlError(f"cannot locate context {current}")
        config = {
            **config,
            "contexts": {current: context},
            "clusters": {k: v for k, v in config["clusters"].items() if k == context.get("cluster")},
            "users": {k: v for k, v in config["users"].items() if k == context.get("user")},
        }
    shown: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": config.get("preferences") or {},
        "current-context": current,
    }
    for section, field in SECTIONS.items():
        entries = [
            {
                "name": name,
                field: _shown(value, options["raw"] or options["flatten"], options["flatten"]),
            }
            for name, value in sorted(config[section].items())
        ]
        shown[section] = entries or None
    from wherry.cli.kubectl.output import print_object

    if not options["output"]:
        options.values["output"] = "yaml"
    print_object(options, shown)
    return 0


def _shown(value: dict[str, Any], raw: bool, flatten: bool) -> dict[str, Any]:
    found = dict(value)
    if flatten:
        import base64

        for key in _FILES:
            if found.get(key):
                with open(found.pop(key), "rb") as file:
                    found[f"{key}-data"] = base64.b64encode(file.read()).decode()
    if not raw:
        for key in ("certificate-authority-data", "client-certificate-data", "client-key-data"):
            if found.get(key):
                found[key] = "DATA+OMITTED"
        for key in ("token", "password"):
            if found.get(key):
                found[key] = "REDACTED"
    return found
