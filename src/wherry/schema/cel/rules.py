"""Walking a schema and an object, and running the rules that stand in the schema.

Specified in
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from wherry.schema.cel.names import escape
from wherry.schema.errors import Cause
from wherry.schema.validation.field import Causes, quoted

if TYPE_CHECKING:
    from wherry.schema.cel import cost
    from wherry.schema.cel.programs import Program

Schema = dict[str, Any]
_Use = tuple[Schema, dict[str, Any], Any, Any, str]
"""(schema with the rule, rule, new value, old value or MISSING, path)"""

_KEYWORD: Final = "x-kubernetes-validations"
_REASONS: Final = ("FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden", "FieldValueDuplicate")
_KINDS: Final = {"date-time": "timestamp", "duration": "duration"}
MISSING: Final = object()

_RUN_SECONDS: Final = 2.0
"""Processor time that all rules of one object may take together (the real server: about one second)."""
_OUT_OF_BUDGET: Final = "validation failed due to running out of cost budget, no further validation rules will be run"


def has_rules(schema: Any) -> bool:
    """Whether there is a rule anywhere in a schema."""
    if isinstance(schema, dict):
        return bool(schema.get(_KEYWORD)) or any(has_rules(child) for child in schema.values())
    return isinstance(schema, list) and any(has_rules(child) for child in schema)


def check(schema: Schema, path: str, causes: Causes, scope: "cost.Scope") -> None:
    """Whether the rules of one schema (not of its children) compile and may be afforded, for the definition's own
    validation."""
    from wherry.schema.cel.programs import BadExpression

    for index, rule in enumerate(schema.get(_KEYWORD) or ()):
        where = f"{path}.{_KEYWORD}[{index}]"
        text = rule.get("rule") or ""
        if not text.strip():
            causes.required(f"{where}.rule", "rule is not specified")
            continue
        if rule.get("reason") is not None and rule["reason"] not in _REASONS:
            causes.unsupported(f"{where}.reason", rule["reason"], _REASONS)
        message = rule.get("message")
        if message is not None and not message.strip():
            causes.invalid(f"{where}.message", message, "message must be non-empty if specified")
        elif message and "\n" in message:
            causes.invalid(f"{where}.message", message, "message must not contain line breaks")
        try:
            program = _program(schema, rule)
            _check_cost(program, schema, f"{where}.rule", "estimated rule cost", causes, scope)
        except BadExpression as error:
            causes.invalid(f"{where}.rule", text, f"compilation failed: {error}")
        if rule.get("messageExpression"):
            at = f"{where}.messageExpression"
            try:
                program = _message_program(schema, rule)
                _check_cost(program, schema, at, "estimated messageExpression cost", causes, scope)
            except BadExpression as error:
                causes.invalid(at, rule["messageExpression"], f"messageExpression compilation failed: {error}")


def _check_cost(program: "Program", schema: Schema, path: str, what: str, causes: Causes, scope: "cost.Scope") -> None:
    from wherry.schema.cel import cost

    once = cost.estimate(program.serialized(), schema, root=scope.root)
    spent = cost.everywhere(once, schema, scope)
    scope.total.add(spent, path)
    if spent > cost.RULE_LIMIT:
        causes.forbidden(path, cost.exceeded(what, spent, cost.RULE_LIMIT))


def check_total(total: "cost.Total", path: str, causes: Causes) -> None:
    """Whether all rules of one version's schema together may be afforded; `path` is that of the schema."""
    from wherry.schema.cel import cost

    if total.sum > cost.TOTAL_LIMIT:
        for _, where in total.dearest:
            causes.forbidden(
                where, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            )
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        causes.forbidden(path, cost.exceeded(what, total.sum, cost.TOTAL_LIMIT))


_programs: dict[tuple[str, str, bool, str], "Program"] = {}
"""Compiled expressions; they depend on nothing but their text."""


def _compiled(text: str, kind: str, optional_old: bool, result: str) -> "Program":
    from wherry.schema.cel.programs import Program

    key = (text, kind, optional_old, result)
    found = _programs.get(key)
    if found is None:
        if len(_programs) > 4096:
            _programs.clear()
        found = _programs[key] = Program(text, convert=kind, optional_old=optional_old, result=result)
    return found


def _kind(schema: Schema) -> str:
    return _KINDS.get(schema.get("format", ""), "") if schema.get("type") == "string" else ""


def _program(schema: Schema, rule: dict[str, Any]) -> "Program":
    return _compiled(rule["rule"], _kind(schema), bool(rule.get("optionalOldSelf")), "BOOL")


def _message_program(schema: Schema, rule: dict[str, Any]) -> "Program":
    return _compiled(rule["messageExpression"], _kind(schema), bool(rule.get("optionalOldSelf")), "STRING")


def validate(schema: Schema, new: Any, old: Any, causes: Causes) -> None:
    """Run all rules on an object that fits its schema. `old` is None for a creation."""
    from wherry.schema.cel.programs import OverBudget

    path, at = "", schema
    ends = time.thread_time() + _RUN_SECONDS
    try:
        for at, rule, value, before, path in _uses(schema, new, MISSING if old is None else old, "", root=True):
            if time.thread_time() > ends:
                raise OverBudget
            _run(at, rule, value, before, path, causes, root=at is schema)
    except OverBudget:
        causes.invalid(path or "<nil>", _word(at), _OUT_OF_BUDGET)


def _uses(schema: Schema, new: Any, old: Any, path: str, *, root: bool = False) -> Iterator[_Use]:
    """Every rule at every place of an object where it applies."""
    if new is None:
        return
    for rule in schema.get(_KEYWORD) or ():
        yield schema, rule, new, old, path
    if isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, value in new.items():
            child = properties.get(name)
            where = f"{path}.{name}" if path else name
            if child is None and isinstance(values, dict):
                child, where = values, f"{path}[{name}]"
            if isinstance(child, dict) and not (root and name == "metadata"):
                yield from _uses(child, value, before.get(name, MISSING), where)
    elif isinstance(new, list) and isinstance(schema.get("items"), dict):
        matching = _by_keys(schema, old)
        for index, value in enumerate(new):
            same = matching.get(_key(schema, value), MISSING) if matching else MISSING
            yield from _uses(schema["items"], value, same, f"{path}[{index}]")


def _key(schema: Schema, item: Any) -> tuple[str, ...]:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    return tuple(repr(item.get(key)) for key in keys) if isinstance(item, dict) else ()


def _by_keys(schema: Schema, old: Any) -> dict[tuple[str, ...], Any]:
    """Old items by their keys: only lists that are maps let an item be found again."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return {}
    return {_key(schema, item): item for item in old}


def _run(schema: Schema, rule: dict[str, Any], new: Any, old: Any, path: str, causes: Causes, *, root: bool) -> None:
    from wherry.schema.cel.programs import BadExpression, Failed

    had_old = old is not MISSING and old is not None
    try:
        program = _program(schema, rule)
    except BadExpression as error:
        causes.invalid(path or "<nil>", _word(schema), f"rule compile error: {error}")
        return
    if program.uses_old and not had_old and not rule.get("optionalOldSelf"):
        return
    value = to_cel(schema, new, root=root)
    before = to_cel(schema, old, root=root) if program.uses_old and had_old else None
    try:
        good = program.run(value, before, had_old=had_old)
    except Failed as error:
        text = (rule.get("message") or "").strip() or f"failed rule: {rule['rule'].strip()}"
        causes.invalid(path or "<nil>", _word(schema), f"{error} evaluating rule: {text}")
        return
    if good is True:
        return
    where = _field_path(path, rule.get("fieldPath") or "")
    detail = _message(schema, rule, value, before, had_old)
    reason = rule.get("reason") or "FieldValueInvalid"
    if reason == "FieldValueForbidden":
        causes.forbidden(where, detail)
    elif reason == "FieldValueRequired":
        causes.required(where, detail)
    elif reason == "FieldValueDuplicate":
        causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {quoted(_word(schema))}", where))
    else:
        causes.invalid(where, _word(schema), detail)


def _field_path(path: str, below: str) -> str:
    below = below.lstrip(".") if not path else below
    return f"{path}{below}" or "<nil>"


def _word(schema: Schema) -> str:
    return str(schema.get("type") or "object")


def _message(schema: Schema, rule: dict[str, Any], value: Any, before: Any, had_old: bool) -> str:
    from wherry.schema.cel.programs import BadExpression, Failed

    if rule.get("messageExpression"):
        try:
            made = _message_program(schema, rule).run(value, before, had_old=had_old)
        except (BadExpression, Failed):
            made = ""
        if isinstance(made, str) and made.strip() and "\n" not in made:
            return made.strip()
    if message := (rule.get("message") or "").strip():
        return str(message)
    return f"failed rule: {rule['rule'].strip()}"


def to_cel(schema: Schema, value: Any, *, root: bool = False) -> Any:
    """A value as rules see it: declared fields only, under names that CEL can say; numbers as the schema has them."""
    if isinstance(value, dict):
        properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
        preserved = schema.get("x-kubernetes-preserve-unknown-fields")
        embedded = root or schema.get("x-kubernetes-embedded-resource")
        made: dict[str, Any] = {}
        for name, item in value.items():
            child = properties.get(name)
            if embedded and name in ("apiVersion", "kind", "metadata"):
                made[name] = _metadata(item) if name == "metadata" else item
            elif isinstance(child, dict):
                if item is not None or child.get("nullable"):
                    made[escape(name)] = to_cel(child, item)
            elif isinstance(values, dict):
                made[name] = to_cel(values, item)
            elif preserved:
                made[escape(name)] = item
        return made
    if isinstance(value, list):
        items = schema.get("items")
        return [to_cel(items, item) for item in value] if isinstance(items, dict) else value
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _metadata(metadata: Any) -> Any:
    """All that rules may know of an object's metadata."""
    if not isinstance(metadata, dict):
        return metadata
    return {field: metadata[field] for field in ("name", "generateName") if field in metadata}
