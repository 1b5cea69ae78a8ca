"""What the `inspect` commands share: an array of JSON, or a template for each object found."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.format.gojson import dumps
from wherry.cli.format.gotemplate import DOCKER_FUNCTIONS, ParseError, Template, TemplateError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.docker.program import Cli


def inspect(
    cli: Cli,
    references: list[str],
    fetch: Callable[[str], Any],
    format_text: str,
    *,
    missing: Callable[[str], str] | None = None,
) -> int:
    """Prints what `fetch` gives for each reference; 1 when one of them failed.

    Everything that is found is printed first, then what went wrong. `missing` words an error of status 404.
    """
    from wherry.docker_api.client import DockerError

    template = None
    if format_text and format_text != "json":
        try:
            template = Template(
                format_text.replace("\\t", "\t").replace("\\n", "\n"), functions=DOCKER_FUNCTIONS, missing="error"
            )
        except ParseError as error:
            raise CliError(f"template parsing error: {error}", 64) from None
    found: list[Any] = []
    errors: list[str] = []
    lines: list[str] = []
    for reference in references:
        try:
            value = fetch(reference)
        except DockerError as error:
            word = (
                missing(reference)
                if missing and error.status == 404
                else f"Error response from daemon: {error.message}"
            )
            errors.append(word)
            continue
        found.append(value)
        if template is not None:
            try:
                lines.append(evaluate(template, value))
            except TemplateError as error:
                errors.append(f"template parsing error: {error}")
                break
    if template is not None:
        cli.out("\n".join(lines))
    elif format_text == "json":
        cli.out(dumps(found, escape_html=False))
    else:
        cli.out(dumps(found, indent="    ", escape_html=cli.path.startswith("docker context")) if found else "[]")
    for message in errors:
        cli.error(message)
    return 1 if errors else 0


def evaluate(template: Template, value: Any) -> str:
    """The template's text. Fields may be spelled as in JSON or, when that fails, as Go does (`.ID`)."""
    try:
        return template.execute(value)
    except TemplateError:
        relaxed = _relax(value)
        try:
            return template.execute(relaxed)
        except TemplateError:
            pass
        raise


def _relax(value: Any) -> Any:
    """The value with the keys of objects of the API also under Go's spelling."""
    if isinstance(value, dict):
        result = {key: _relax(item) for key, item in value.items()}
        for key in list(result):
            for old, new in (
                ("Id", "ID"),
                ("Ip", "IP"),
                ("Cpu", "CPU"),
                ("Dns", "DNS"),
                ("Pid", "PID"),
                ("Ipc", "IPC"),
            ):
                if old in key:
                    result.setdefault(key.replace(old, new), result[key])
        return result
    if isinstance(value, list):
        return [_relax(item) for item in value]
    return value
