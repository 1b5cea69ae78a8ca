"""What the commands share that do one thing to each of several targets (`docker stop a b c`)."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.cli.docker.program import Cli


def each(
    cli: Cli,
    targets: list[str],
    act: Callable[[str], object],
    *,
    word: Callable[[str, str], str] | None = None,
    together: bool = False,
) -> int:
    """Calls `act` for each target and prints the target, or what went wrong; 1 when something did.

    `together` acts on all at once (stopping takes its time) and prints in the order given. `act` may return the text
    to print instead of the target.
    """
    from wherry.docker_api.client import DockerError

    def one(target: str) -> tuple[str, str]:
        try:
            said = act(target)
        except DockerError as error:
            return "", word(target, error.message) if word else f"Error response from daemon: {error.message}"
        return (said if isinstance(said, str) else target), ""

    failed = 0
    if together and len(targets) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(50, len(targets))) as pool:
            results = list(pool.map(one, targets))
    else:
        results = []
        for target in targets:
            said, wrong = one(target)
            if wrong:
                failed = 1
                cli.error(wrong)
            elif said:
                cli.out(said)
        return failed
    for said, wrong in results:
        if wrong:
            failed = 1
            cli.error(wrong)
        elif said:
            cli.out(said)
    return failed
