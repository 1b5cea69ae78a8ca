"""`docker login`."""

from __future__ import annotations

import sys

from wherry.cli.docker.errors import CliError
from wherry.docker_api.credentials import INDEX

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] [SERVER]"
LONG = """
Log in to a registry. Without a server, to Docker Hub.
"""
ARGUMENTS = (0, 1)
FLAGS = """
p,password string    Password or token
  password-stdin     Read the password from standard input
u,username string    User name
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    user, password = flags["username"], flags["password"]
    server = arguments[0] if arguments else INDEX
    if server in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        server = INDEX
    else:
        server = (
            server if server == INDEX else server.removeprefix("https://").removeprefix("http://").partition("/")[0]
        )
    if flags.given("password") and flags["password-stdin"]:
        raise CliError("--password and --password-stdin are mutually exclusive")
    if flags.given("password") and not password:
        raise CliError("password is empty")
    if flags["password-stdin"]:
        if not user:
            raise CliError("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().rstrip("\r\n")
    elif password:
        cli.error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if not user or not password:
        known = cli.config.credentials(server) if not user and not password else {}
        if known.get("username") and known.get("password"):
            cli.out("Authenticating with existing credentials...")
            user, password = known["username"], known["password"]
        else:
            user, password = _ask(user, password)
    body = {"username": user, "password": password, "serveraddress": server}
    answer = cli.client.post("/auth", body=body) or {}
    helper = cli.config.remember(server, user, password, answer.get("IdentityToken") or "")
    if not helper:
        cli.error(
            f"\nWARNING! Your credentials are stored unencrypted in '{cli.config.folder}/config.json'.\n"
            "Configure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n"
        )
    cli.out(answer.get("Status") or "Login Succeeded")


def _ask(user: str, password: str) -> tuple[str, str]:
    import getpass

    if not sys.stdin.isatty():
        raise CliError("Error: Cannot perform an interactive login from a non TTY device")
    user = user or input("Username: ").strip()
    if not user:
        raise CliError("Error: Non-null Username Required")
    password = password or getpass.getpass("Password: ")
    if not password:
        raise CliError("Error: Password Required")
    return user, password
