"""`docker`: finds the command, parses its flags, runs it, and turns what goes wrong into words and an exit code.

Written without click, which alone costs what the whole command may (docs/decisions/command-line-start.md), and
because flags follow pflag's rules here, errors included.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.docker.commands import ALIASES, GROUPS, SHORT, UNSUPPORTED, VERBS
from wherry.cli.docker.errors import CliError, Exit
from wherry.cli.docker.flags import FlagError, HelpWanted, parse, read_table

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from wherry.cli.docker.config import Config
    from wherry.docker_api.client import DockerClient

VERSION = "28.0.0"
"""The release of Docker whose commands these are; what --version tells scripts."""

GLOBAL_FLAGS = """
config string                  Folder of the client's settings (default "~/.docker")
c,context string               Context that says which engine to talk to
D,debug                        Say more about errors
H,host list                    The engine's address (unix://PATH, tcp://HOST:PORT)
l,log-level string=info        How much to log ("debug", "info", "warn", "error", "fatal")
  tls                          Use TLS
  tlscacert string             Trust certificates of this CA only
  tlscert string               Own certificate
  tlskey string                Own key
  tlsverify                    Use TLS and verify the other side
v,version                      Print the version and stop
"""


class Cli:
    """What every command gets: the engine, the settings, and where to print."""

    def __init__(self, host: str | None, config_folder: str | None, context: str | None = None) -> None:
        self._host = host
        self._folder = config_folder
        self._context = context
        self._client: DockerClient | None = None
        self._config: Config | None = None
        self.path = "docker"
        """The command as the user named it, for its help."""

    @property
    def config(self) -> Config:
        if self._config is None:
            from wherry.cli.docker.config import Config

            self._config = Config.load(self._folder)
        return self._config

    @property
    def context(self) -> str:
        """The context in use."""
        if self._context:
            return self._context
        if self._host or os.environ.get("DOCKER_HOST"):
            return "default"
        return os.environ.get("DOCKER_CONTEXT") or self.config.current_context

    @property
    def host(self) -> str:
        """The engine's address: -H, --context, DOCKER_HOST, the context in use, this machine's Wherry."""
        if self._host:
            return self._host
        if self._context not in (None, "", "default"):
            return self.config.context_host(self._context or "")
        if os.environ.get("DOCKER_HOST"):
            return os.environ["DOCKER_HOST"]
        if self.context != "default":
            return self.config.context_host(self.context)
        return default_host()

    @property
    def client(self) -> DockerClient:
        if self._client is None:
            from wherry.docker_api.client import DockerClient

            self._client = DockerClient(self.host)
        return self._client

    def out(self, text: str) -> None:
        """A line on standard output."""
        sys.stdout.write(text + "\n")

    def error(self, text: str) -> None:
        """A line on standard error, after what standard output has."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def confirm(self, question: str) -> bool:
        """Asks on the terminal; False unless the answer is yes."""
        sys.stdout.write(f"{question} [y/N] ")
        sys.stdout.flush()
        return sys.stdin.readline().strip().lower() == "y"


def default_host() -> str:
    """The socket of this machine's Wherry: WHERRY_RUN, or /run/wherry."""
    return f"unix://{os.environ.get('WHERRY_RUN') or '/run/wherry'}/docker.sock"


def main(arguments: list[str] | None = None) -> int:
    """Runs `docker arguments…` and returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            code = run(words)
        finally:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output has left; nothing more can reach them, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def run(words: list[str]) -> int:
    """As `main`, with errors printed and exceptions of other kinds let through."""
    if words in (["--version"], ["-v"]):
        return _version()
    table = read_table(GLOBAL_FLAGS, {})
    try:
        values, rest = parse(table, words, types={}, interspersed=False)
    except HelpWanted:
        rest, values = [], None
    except FlagError as error:
        return _complain(
            f"{error}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n\nRun 'docker --help' for more information", 125
        )
    if values is not None and values["version"]:
        return _version()
    if values is None or not rest or rest == ["help"]:
        from wherry.cli.docker.help import program_help

        sys.stdout.write(program_help())
        return 0
    hosts = values["host"]
    if len(hosts) > 1:
        return _complain("Failed to initialize: unable to resolve docker endpoint: Specify only one -H")
    cli = Cli(hosts[0] if hosts else None, values["config"] or None, values["context"] or None)
    if rest[0] == "help":
        return _help_topic(rest[1:])
    return dispatch(cli, rest)


def _version() -> int:
    from wherry import __version__

    sys.stdout.write(f"Docker version {VERSION}, build wherry-{__version__}\n")
    return 0


def _complain(message: str, code: int = 1) -> int:
    sys.stdout.flush()
    sys.stderr.write(message + "\n")
    return code


def _usage_error(message: str, usage: str, path: str) -> str:
    return f"{message}\n\nUsage:  {usage}\n\nRun '{path} --help' for more information"


def resolve(words: list[str]) -> tuple[str, str, list[str]]:
    """The command in `words`: its full name, its path as typed, and the words behind it. CliError when unknown."""
    first = words[0]
    if first in SHORT:
        return SHORT[first], f"docker {first}", words[1:]
    if first in VERBS:
        return first, f"docker {first}", words[1:]
    if first in UNSUPPORTED:
        raise CliError(f"docker: 'docker {first}' is not supported by Wherry: it has no {UNSUPPORTED[first]}")
    if first not in GROUPS and first != "buildx":
        raise CliError(f"docker: unknown command: docker {first}\n\nRun 'docker --help' for more information")
    if len(words) == 1 or words[1] in ("--help", "-h", "help"):
        return first, f"docker {first}", ["--help"]
    name = f"{first} {words[1]}"
    full = ALIASES.get(name, name)
    if full not in VERBS:
        if words[1].startswith("-"):
            flag = words[1]
            shown = (
                f"unknown flag: {flag}" if flag.startswith("--") else f"unknown shorthand flag: '{flag[1:2]}' in {flag}"
            )
            raise CliError(
                f"{shown}\n\nUsage:  docker {first} COMMAND\n\nRun 'docker {first} --help' for more information", 125
            )
        raise CliError(
            f"docker: unknown command: docker {name}\n\nUsage:  docker {first}\n\n"
            f"Run 'docker {first} --help' for more information"
        )
    return full, f"docker {full if full.startswith(first) else name}", words[2:]


def _help_topic(words: list[str]) -> int:
    try:
        name, path, _ = resolve(words)
    except CliError:
        return _complain(f"unknown help topic: {' '.join(words)}")
    return _show_help(name, path)


def _show_help(name: str, path: str) -> int:
    from wherry.cli.docker.help import command_help, group_help

    sys.stdout.write(group_help(name) if name in GROUPS or name == "buildx" else command_help(name, path, load(name)))
    return 0


def load(name: str) -> ModuleType:
    """The module of a command."""
    module = f"wherry.cli.docker.{VERBS[name][0]}"
    __import__(module)
    return sys.modules[module]


def dispatch(cli: Cli, words: list[str]) -> int:
    """Runs the command in `words`."""
    if words[0] == "compose":
        return _compose(cli, words[1:])
    try:
        name, path, rest = resolve(words)
    except CliError as error:
        return _complain(error.message, error.code)
    if name not in VERBS:
        if not words[1:]:
            # Nothing was asked for: the help is a reminder, not an answer.
            sys.stdout, sys.stderr = sys.stderr, sys.stdout
        return _show_help(name, path)
    return run_command(cli, name, path, rest)


def run_command(cli: Cli, name: str, path: str, words: list[str]) -> int:
    """Parses the words of a command and runs it."""
    module = load(name)
    types: dict[str, Any] = getattr(module, "TYPES", {})
    usage = "\n\t".join(f"{path} {line}".rstrip() for line in module.USAGE.split("\n"))
    try:
        flags, arguments = parse(
            read_table(module.FLAGS, types), words, types=types, interspersed=getattr(module, "INTERSPERSED", True)
        )
    except HelpWanted:
        return _show_help(name, path)
    except FlagError as error:
        return _complain(_usage_error(str(error), usage, path), 125)
    if wrong := count_error(len(arguments), *module.ARGUMENTS):
        run_or_see = "See" if wrong.startswith("requires at least") else "Run"
        return _complain(
            f"docker: '{path}' {wrong}\n\nUsage:  {usage}\n\n{run_or_see} '{path} --help' for more information"
        )
    cli.path = path
    try:
        return module.run(cli, flags, arguments) or 0
    except Exit as error:
        return error.code
    except CliError as error:
        return _complain(error.message, error.code) if error.message else error.code
    except Exception as error:
        message = explain(cli, error)
        if message is None:
            raise
        return _complain(message)


def explain(cli: Cli, error: Exception) -> str | None:
    """What to say about an error of the engine or of a template; None for anything else."""
    from wherry.cli.format.gotemplate import TemplateError
    from wherry.docker_api.client import CannotConnect, DockerError

    if isinstance(error, DockerError):
        return f"Error response from daemon: {error.message}"
    if isinstance(error, CannotConnect):
        return cannot_connect(cli, error)
    if isinstance(error, TemplateError):
        return str(error)
    return None


def cannot_connect(cli: Cli, error: Exception) -> str:
    """The client's words for a daemon that does not answer, and what to do where it is Wherry's own."""
    from wherry.cli import hints

    hint = hints.engine(cli.host)
    return f"{error}\n{hint}" if hint else str(error)


def count_error(count: int, least: int, most: int | None) -> str:
    """What is wrong with the number of arguments, if anything."""
    if least <= count and (most is None or count <= most):
        return ""
    if most == 0:
        return "accepts no arguments"
    wanted = least if least == most or count < least else most or 0
    noun = "argument" if wanted == 1 else "arguments"
    if least == most:
        return f"requires {wanted} {noun}"
    if most is None or (count < least and least == 0):
        return f"requires at least {wanted} {noun}"
    if least == 0:
        return f"requires at most {most} {noun}"
    return f"requires at least {least} and at most {most} arguments"


def _compose(cli: Cli, words: list[str]) -> int:
    """`docker compose`: the program docker-compose of the same folder, or of this Python."""
    os.environ.setdefault("DOCKER_HOST", cli.host)
    sys.stdout.flush()
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "docker-compose")
    if os.access(beside, os.X_OK):
        os.execv(beside, ["docker-compose", *words])
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    os.execv(sys.executable, [sys.executable, "-m", "wherry.cli.main", "compose", *words])
