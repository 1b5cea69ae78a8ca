"""Flags as kubectl's users type them: GNU style, anywhere between the arguments, `--` ends them.

A verb declares its flags as a table of `Flag`. Messages are those of Go's pflag package, which kubectl uses.
No click here: importing it costs more than all the rest of a short command.
"""

from typing import Any, NamedTuple

from wherry.cli.kubectl.errors import FlagError


class Flag(NamedTuple):
    """One flag. `kind`: bool, str, int, duration, list (comma-separated, repeatable), array (repeatable),
    or `opt:<word>`: a string that stands for <word> when it is given without a value."""

    name: str
    short: str = ""
    kind: str = "str"
    default: Any = ""
    help: str = ""


class Options:
    """Values of the flags, and the arguments. `changed` holds the names of the flags that were given."""

    def __init__(self, flags: dict[str, Flag]) -> None:
        self.flags = flags
        self.values: dict[str, Any] = {}
        self.changed: set[str] = set()
        self.arguments: list[str] = []
        self.dash_at = -1
        """How many arguments came before `--`; -1 without one."""

    def __getitem__(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        default = self.flags[name].default
        return list(default) if isinstance(default, (list, tuple)) else default

    def shared(self, name: str) -> Any:
        """The value of one of GLOBAL; its default where a verb uses the name for something else."""
        flag = next(flag for flag in GLOBAL if flag.name == name)
        return self[name] if self.flags.get(name) is flag else flag.default

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a flag that this verb may not have."""
        return self[name] if name in self.flags else default


GLOBAL = (
    Flag("as", "", "str", "", "Username to impersonate for the operation."),
    Flag("as-group", "", "array", (), "Group to impersonate for the operation; may be repeated."),
    Flag("as-uid", "", "str", "", "UID to impersonate for the operation."),
    Flag("cache-dir", "", "str", "", "Directory of the discovery cache."),
    Flag("certificate-authority", "", "str", "", "Path to a cert file for the certificate authority."),
    Flag("client-certificate", "", "str", "", "Path to a client certificate file for TLS."),
    Flag("client-key", "", "str", "", "Path to a client key file for TLS."),
    Flag("cluster", "", "str", "", "The name of the kubeconfig cluster to use."),
    Flag("context", "", "str", "", "The name of the kubeconfig context to use."),
    Flag("insecure-skip-tls-verify", "", "bool", False, "Do not check the server's certificate."),
    Flag("kubeconfig", "", "str", "", "Path to the kubeconfig file to use for CLI requests."),
    Flag("namespace", "n", "str", "", "The namespace scope of this request."),
    Flag("request-timeout", "", "str", "0", "How long to wait for a single server request; 0 waits for ever."),
    Flag("server", "s", "str", "", "The address and port of the Kubernetes API server."),
    Flag("tls-server-name", "", "str", "", "Server name to use for server certificate validation."),
    Flag("token", "", "str", "", "Bearer token for authentication to the API server."),
    Flag("user", "", "str", "", "The name of the kubeconfig user to use."),
    Flag("v", "v", "int", 0, "Log level: 6 prints requests, 8 prints bodies."),
    Flag("warnings-as-errors", "", "bool", False, "Treat warnings of the server as errors."),
)
HELP = Flag("help", "h", "bool", False, "Show this help.")

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def parse(words: list[str], flags: tuple[Flag, ...], *, interspersed: bool = True) -> Options:
    """Read a command line. Raises FlagError."""
    table = {flag.name: flag for flag in (*GLOBAL, HELP, *flags)}
    shorts: dict[str, Flag] = {}
    for flag in (*GLOBAL, HELP, *flags):
        if flag.short:
            shorts[flag.short] = flag
    options = Options(table)
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            options.dash_at = len(options.arguments)
            options.arguments += words[position:]
            break
        if word.startswith("--"):
            position = _long(word[2:], words, position, table, options)
        elif word.startswith("-") and len(word) > 1:
            position = _short(word[1:], words, position, shorts, options)
        else:
            options.arguments.append(word)
            if not interspersed:
                options.arguments += words[position:]
                break
    return options


def _long(word: str, words: list[str], position: int, table: dict[str, Flag], options: Options) -> int:
    name, equals, value = word.partition("=")
    flag = table.get(name)
    if flag is None:
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: --{word}")
        raise FlagError(f"unknown flag: --{name}")
    if not equals:
        if flag.kind == "bool":
            value = "true"
        elif flag.kind.startswith("opt:"):
            value = flag.kind[4:]
        elif position < len(words):
            value = words[position]
            position += 1
        else:
            raise FlagError(f"flag needs an argument: --{name}")
    _set(flag, value, options)
    return position


def _short(letters: str, words: list[str], position: int, shorts: dict[str, Flag], options: Options) -> int:
    whole = letters
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = shorts.get(letter)
        if flag is None:
            raise FlagError(f"unknown shorthand flag: {letter!r} in -{whole}")
        if letters.startswith("="):
            _set(flag, letters[1:], options)
            return position
        if flag.kind == "bool":
            _set(flag, "true", options)
            continue
        if flag.kind.startswith("opt:"):
            _set(flag, flag.kind[4:], options)
            continue
        if letters:
            _set(flag, letters, options)
        elif position < len(words):
            _set(flag, words[position], options)
            position += 1
        else:
            raise FlagError(f"flag needs an argument: {letter!r} in -{whole}")
        return position
    return position


def _set(flag: Flag, value: str, options: Options) -> None:
    kind = flag.kind
    new: Any = value
    problem = ""
    if kind == "bool":
        if value in _TRUE:
            new = True
        elif value in _FALSE:
            new = False
        else:
            problem = f'strconv.ParseBool: parsing "{value}": invalid syntax'
    elif kind == "int":
        try:
            new = int(value)
        except ValueError:
            problem = f'strconv.ParseInt: parsing "{value}": invalid syntax'
    elif kind == "duration":
        try:
            new = seconds(value)
        except ValueError as error:
            problem = str(error)
    elif kind == "list":
        before = options.values.get(flag.name, [])
        new = before + (_fields(value) if value else [])
    elif kind == "array":
        new = [*options.values.get(flag.name, []), value]
    if problem:
        spelled = f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}"
        raise FlagError(f'invalid argument "{value}" for "{spelled}" flag: {problem}')
    options.values[flag.name] = new
    options.changed.add(flag.name)


def _fields(value: str) -> list[str]:
    if '"' not in value:
        return value.split(",")
    import csv

    return next(csv.reader([value]))


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A Go duration (`1m30s`, `500ms`, `-1s`) in seconds. Raises ValueError as Go words it."""
    import re

    rest = text[1:] if text[:1] in ("-", "+") else text
    sign = -1.0 if text.startswith("-") else 1.0
    if rest == "0":
        return 0.0
    parts = re.findall(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)", rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        if rest and re.fullmatch(r"[0-9.]+", rest):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
