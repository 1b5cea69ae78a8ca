"""Names of images as the user types them."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError


def split_tag(reference: str) -> tuple[str, str]:
    """(name, tag or digest); the second is empty when there is none."""
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return name, digest
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "")


def with_tag(reference: str) -> str:
    """The reference with `:latest` when it names no tag. CliError when it is no reference."""
    name, tag = split_tag(reference)
    path = name.rpartition("/")[2]
    if not name or not path or any(char.isspace() for char in name):
        raise CliError("invalid reference format")
    if any(char.isupper() for char in name.removeprefix(registry_part(name))):
        raise CliError(f"invalid reference format: repository name ({_bare(name)}) must be lowercase")
    return reference if tag else f"{reference}:latest"


def registry_part(name: str) -> str:
    first, slash, _ = name.partition("/")
    return first + "/" if slash and ("." in first or ":" in first or first == "localhost") else ""


def _bare(name: str) -> str:
    bare = name.removeprefix(registry_part(name))
    return f"library/{bare}" if "/" not in bare and not registry_part(name) else bare
