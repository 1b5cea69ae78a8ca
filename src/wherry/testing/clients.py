"""Which docker, docker-compose and kubectl a test runs: those installed, or Wherry's own where one is missing.

WHERRY_TEST_CLIENTS=wherry runs the tests with Wherry's own in any case.
"""

import os
import shutil

from wherry.cli import launchers
from wherry.cli.env import variables
from wherry.host.instance import Instance


def path(instance: Instance) -> str:
    """PATH with Wherry's own programs, which are written: last, or first when they are wanted in any case."""
    place = launchers.write(instance)
    before = os.environ.get("PATH", os.defpath)
    return launchers.path_with(place, before, os.environ.get("WHERRY_TEST_CLIENTS", "auto"))


def environment(instance: Instance) -> dict[str, str]:
    """This process's environment, in which the clients find the instance."""
    return {**os.environ, **variables(instance), "PATH": path(instance)}


def installed(program: str) -> str | None:
    """The path of a client that is not Wherry's own, for comparing with; None where there is none."""
    if os.environ.get("WHERRY_TEST_CLIENTS") == "wherry":
        return None
    # `eval "$(wherry env --clients wherry)"` may have put an instance's own first.
    found = (shutil.which(program, path=place) for place in os.environ.get("PATH", os.defpath).split(os.pathsep))
    return next((path for path in found if path and not _is_own(path)), None)


def _is_own(path: str) -> bool:
    with open(path, "rb") as file:
        return b"\nfrom wherry.cli." in file.read(4096)
