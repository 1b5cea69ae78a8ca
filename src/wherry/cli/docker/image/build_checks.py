"""`docker build --check`: what the build checks found, each with its place in the Dockerfile."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.image.build_progress import Dockerfile
    from wherry.cli.docker.program import Cli


def report(cli: Cli, checks: list[dict[str, Any]], dockerfile: Dockerfile, name: str) -> int:
    """Prints `checks` as the engine gives them; the command's exit code, 1 when there are any."""
    if not checks:
        cli.out("Check complete, no warnings found.")
        return 0
    count = "1 warning has" if len(checks) == 1 else f"{len(checks)} warnings have"
    cli.out(f"Check complete, {count} been found!")
    for check in checks:
        cli.out(f"\nWARNING: {check['rule']} - {check['url']}\n{check['text']}")
        if excerpt := dockerfile.excerpt(check["line"], name):
            cli.out(excerpt)
    return 1
