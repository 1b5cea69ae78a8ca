"""Keys that mean the same in several places: of a service, of its build, of a hook."""

import re
from typing import Any

from wherry.compose.convert import At, integer, list_of, mapping, one_or_list, scalar, string


def grant(value: Any, at: At) -> dict[str, Any]:
    """A config or secret of a service: its name, or the long form."""
    if isinstance(value, str):
        return {"source": value}
    found: dict[str, Any] = mapping(
        {"source": string, "target": string, "uid": scalar, "gid": scalar, "mode": file_mode}, required=("source",)
    )(value, at)
    return found


def file_mode(value: Any, at: At) -> str:
    """A file mode as an octal string; a number in the file was written in octal or is taken as decimal."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"0{value:o}"
    text = scalar(value, at)
    if not re.fullmatch(r"0?o?[0-7]{1,4}", text):
        at.fail(f"invalid file mode {text!r}")
    return text


def extra_hosts(value: Any, at: At) -> dict[str, list[str]]:
    """`name:address`, `name=address`, or a mapping; one name may have several addresses."""
    found: dict[str, list[str]] = {}
    if isinstance(value, dict):
        for name, addresses in value.items():
            found[str(name)] = [one.strip("[]") for one in one_or_list(string)(addresses, at / name)]
        return found
    for index, item in enumerate(list_of(string)(value, at)):
        name, separator, address = item.partition("=")
        if not separator:
            name, separator, address = item.partition(":")
        if not separator or not name or not address:
            (at / index).fail(f"bad host name '{item}': name=address is needed")
        found.setdefault(name, []).append(address.strip("[]"))
    return found


def ulimit(value: Any, at: At) -> Any:
    if isinstance(value, dict):
        return mapping({"soft": integer, "hard": integer}, required=("soft", "hard"))(value, at)
    return integer(value, at)
