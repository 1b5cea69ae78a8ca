"""What every verb is given: the flags, the connection, the server's resources, and how objects are named."""

import sys
from typing import Any

from wherry.cli.kubectl.discovery import Discovery, Resource
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag, Options, seconds
from wherry.cli.kubectl.http import HTTP
from wherry.cli.kubectl.kubeconfig import Access

Object = dict[str, Any]

DRY_RUN = Flag("dry-run", "", "opt:unchanged", "none", 'Must be "none", "server" or "client".')
MANAGER = Flag("field-manager", "", "str", "", "Name of the manager of the fields that this command sets.")
FILES = (
    Flag("filename", "f", "list", (), "Files, directories or URLs that hold the resources."),
    Flag("kustomize", "k", "str", "", "Not supported: render first, then use -f."),
    Flag("recursive", "R", "bool", False, "Read the directories of -f with those below them."),
)
SELECTOR = Flag("selector", "l", "str", "", "Label query to filter on: '=', '==', '!=', in, notin, exists.")
FIELD_SELECTOR = Flag("field-selector", "", "str", "", "Field query to filter on: '=', '==' and '!='.")
ALL_NAMESPACES = Flag("all-namespaces", "A", "bool", False, "Use all namespaces.")
OUTPUT = Flag("output", "o", "str", "", "Output format: json, yaml, name, jsonpath, go-template, …")
PRINTING = (
    OUTPUT,
    Flag("template", "", "str", "", "Template of -o go-template, or its file."),
    Flag("allow-missing-template-keys", "", "bool", True, "Ignore fields that a template names and an object lacks."),
    Flag("show-managed-fields", "", "bool", False, "Keep managedFields in JSON and YAML."),
)
VALIDATE = Flag("validate", "", "opt:strict", "strict", 'Must be "strict" (true), "warn" or "ignore" (false).')


class Session:
    """One run of kubectl. `command` is what the user typed up to the flags: `kubectl create secret`."""

    def __init__(self, options: Options, command: str) -> None:
        self.options = options
        self.command = command
        self._access: Access | None = None
        self._http: HTTP | None = None
        self._discovery: Discovery | None = None

    @property
    def access(self) -> Access:
        if self._access is None:
            self._access = Access(self.options)
        return self._access

    @property
    def http(self) -> HTTP:
        if self._http is None:
            text = self.options["request-timeout"]
            try:
                timeout = seconds(text if not text.isdigit() else text + "s") if text else 0
            except ValueError as error:
                raise KubectlError(
                    "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a "
                    "corresponding time unit (e.g. 1s | 2m | 3h)"
                ) from error
            self._http = HTTP(self.access, timeout=timeout or None, verbosity=self.options["v"])
        return self._http

    @property
    def discovery(self) -> Discovery:
        if self._discovery is None:
            self._discovery = Discovery(self.http, self.options["cache-dir"])
        return self._discovery

    @property
    def namespace(self) -> str:
        return self.access.namespace

    @property
    def is_namespace_given(self) -> bool:
        return bool(self.options["namespace"])

    def find(self, word: str) -> Resource:
        return self.discovery.find(word)

    def usage(self, message: str) -> UsageError:
        return UsageError(message)

    @property
    def dry_run(self) -> str:
        """`none`, `client` or `server`."""
        value = str(self.options.get("dry-run", "none"))
        if value in ("", "unchanged"):
            raise KubectlError(
                '--dry-run flag without a value was specified. A value must be set: "none", "server", or "client".'
            )
        if value not in ("none", "client", "server"):
            raise KubectlError(f'Invalid dry-run value ({value}). Must be "none", "server", or "client".')
        return value

    def write_query(self, manager: str = "", *, validate: bool = True) -> dict[str, str]:
        """The query of a request that changes something: field manager, dry run, field validation."""
        query: dict[str, str] = {}
        name = self.options.get("field-manager") or manager
        if name:
            query["fieldManager"] = name
        if self.dry_run == "server":
            query["dryRun"] = "All"
        if validate:
            query["fieldValidation"] = self.validation
        return query

    @property
    def validation(self) -> str:
        value = str(self.options.get("validate", "strict")).lower()
        known = {"strict": "Strict", "true": "Strict", "warn": "Warn", "ignore": "Ignore", "false": "Ignore"}
        if value not in known:
            raise KubectlError(
                f"invalid - validate option {value!r}; must be one of: strict (or true), warn, ignore (or false)"
            )
        return known[value]

    def done(
        self, resource: Resource, name: str, what: str, obj: Object | None = None, *, dry: str | None = None
    ) -> None:
        """Say what was done (`pod/web created`), or print the object when -o asks for it."""
        mode = self.dry_run if dry is None and "dry-run" in self.options.flags else dry or "none"
        if self.options.get("output"):
            from wherry.cli.kubectl.output import print_object

            print_object(self.options, obj or {}, resource, done=self._suffixed(what, mode))
            return
        print(f"{resource.label}/{name} {self._suffixed(what, mode)}")

    @staticmethod
    def _suffixed(what: str, mode: str) -> str:
        return what + {"client": " (dry run)", "server": " (server dry run)"}.get(mode, "")

    @staticmethod
    def say(text: str) -> None:
        """A line on stderr."""
        sys.stdout.flush()
        print(text, file=sys.stderr)
