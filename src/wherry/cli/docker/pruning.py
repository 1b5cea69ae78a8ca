"""What the `prune` commands share: the question, the call, and what was freed."""

from __future__ import annotations

from wherry.cli.format.units import human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

PRUNE_FLAGS = """
  filter filter    Only those that match (until=TIME, label=NAME[=VALUE])
f,force            Do not ask
"""


def with_config_filters(cli: Cli, filters: dict[str, list[str]]) -> dict[str, list[str]] | None:
    """The filters with those of config.json's `pruneFilters`."""
    merged = {key: list(values) for key, values in filters.items()}
    for text in cli.config.values.get("pruneFilters") or []:
        key, _, value = text.partition("=")
        merged.setdefault(key, []).append(value)
    return merged or None


def prune(
    cli: Cli, flags: Flags, kind: str, question: str, key: str, title: str, query: dict[str, Any] | None = None
) -> None:
    """Asks, prunes `kind`, lists what is under `key` of the answer below `title`, and the space that was freed."""
    if not flags["force"] and not cli.confirm(question):
        return
    filters = query if query is not None else {"filters": with_config_filters(cli, flags["filter"])}
    report = cli.client.post(f"/{kind}/prune", filters)
    show_report(cli, report, key, title)
    cli.out(f"Total reclaimed space: {human_size(report.get('SpaceReclaimed') or 0)}")


def show_report(cli: Cli, report: dict[str, Any], key: str, title: str) -> None:
    removed = report.get(key) or []
    if removed:
        cli.out(title)
        for one in removed:
            cli.out(describe(one))
        cli.out("")


def describe(one: Any) -> str:
    """An id or name, or what an image's removal did."""
    if isinstance(one, dict):
        return f"untagged: {one['Untagged']}" if one.get("Untagged") else f"deleted: {one.get('Deleted', '')}"
    return str(one)
