"""The programs `docker`, `docker-compose` and `kubectl` of Wherry: small scripts in `<root>/bin`.

They start the interpreter without `site` (-IS) and name the folders to import from, which saves half of a short
command's time (docs/decisions/command-line-start.md). They live below the root and not below the runtime directory,
since /run is mounted noexec on many machines.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from wherry.host.instance import Instance

PROGRAMS = {
    "docker": ("wherry.cli.docker.program", "main"),
    "docker-compose": ("wherry.cli.compose.main", "program"),
    "kubectl": ("wherry.cli.kubectl.main", "program"),
}
"""Name -> (module, function); the function's result is the exit code."""

_SHEBANG_LIMIT = 120


def folder(instance: Instance) -> Path:
    """Where an instance's programs are."""
    return instance.root / "bin"


def write(instance: Instance) -> Path:
    """Makes the programs, or renews those that differ; the folder. OSError when that is not allowed."""
    place = folder(instance)
    place.mkdir(parents=True, exist_ok=True)
    for name, (module, function) in PROGRAMS.items():
        text = script(instance, module, function)
        path = place / name
        if path.is_file() and path.read_text(encoding="utf-8") == text and os.access(path, os.X_OK):
            continue
        fresh = place / f".{name}.{os.getpid()}"
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(path)
    return place


def script(instance: Instance, module: str, function: str) -> str:
    """A launcher's text."""
    source = str(Path(__file__).resolve().parents[2])
    folders = list(dict.fromkeys([source, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
    shebang = f"#!{sys.executable} -IS\n"
    if len(shebang) > _SHEBANG_LIMIT or " " in sys.executable:
        # The kernel cuts long lines and splits at spaces: /bin/sh reads the first lines, Python all of them.
        shebang = f"#!/bin/sh\n'''exec' \"{sys.executable}\" -IS \"$0\" \"$@\"\n' '''\n"
    return (
        f"{shebang}import os, sys\n"
        f"sys.path += {folders!r}\n"
        f"os.environ.setdefault('WHERRY_ROOT', {str(instance.root)!r})\n"
        f"os.environ.setdefault('WHERRY_RUN', {str(instance.run)!r})\n"
        f"from {module} import {function}\n"
        f"sys.exit({function}())\n"
    )


def path_with(place: Path, path: str, clients: str) -> str:
    """PATH as `wherry env --clients` wants it.

    `wherry` puts the programs first, `installed` leaves them out, `auto` puts them last when one of them is not
    installed: so a real client that is there is the one that runs, and one that is missing is Wherry's.
    """
    others = [part for part in path.split(os.pathsep) if part and part != str(place)]
    if clients == "wherry":
        return os.pathsep.join([str(place), *others])
    rest = os.pathsep.join(others)
    if clients == "auto" and any(shutil.which(name, path=rest) is None for name in PROGRAMS):
        return os.pathsep.join([*others, str(place)])
    return rest
