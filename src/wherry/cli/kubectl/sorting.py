"""`--sort-by`: objects ordered by the value of a JSONPath; those that lack it come first."""

import re
from typing import Any

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.output import relaxed


def _key(expression: str) -> Any:
    from wherry.schema.jsonpath import parse

    try:
        template = parse(relaxed(expression))
    except ValueError as error:
        raise KubectlError(str(error)) from error

    def key(obj: Any) -> tuple[int, Any]:
        values = [value for group in template.find(obj) for value in group]
        if not values:
            return (0, 0)
        value = values[0]
        if isinstance(value, bool):
            return (1, int(value))
        if isinstance(value, (int, float)):
            return (1, value)
        return (1, _natural(str(value)))

    return key, lambda obj: any(group for group in template.find(obj))


_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[numkMGTPE]|Ki|Mi|Gi|Ti|Pi|Ei)?\Z")


def _natural(text: str) -> Any:
    """Quantities by their amount, other strings by their letters with numbers as numbers."""
    if _QUANTITY.match(text):
        from wherry.schema.quantity import parse

        return [(0, parse(text).nano, "")]
    return [(1, int(p), p) if p.isdigit() else (2, 0, p) for p in re.split(r"([0-9]+)", text) if p]


def _sorted(items: list[Any], objects: list[Any], expression: str) -> list[Any]:
    key, has = _key(expression)
    if objects and not any(has(obj) for obj in objects):
        raise KubectlError(f'couldn\'t find any field with path "{relaxed(expression)}" in the list of objects')
    order = sorted(range(len(items)), key=lambda index: key(objects[index]))
    return [items[index] for index in order]


def sort_rows(rows: list[Any], expression: str) -> list[Any]:
    return _sorted(rows, [row.get("object") or {} for row in rows], expression)


def sort_objects(pairs: list[Any], expression: str) -> list[Any]:
    return _sorted(pairs, [obj for _, obj in pairs], expression)
