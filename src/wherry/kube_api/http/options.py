"""Query parameters of resource requests, and the bodies of DELETE."""

from typing import Any

import orjson

from wherry.kube_api.call import Call, DeleteOptions
from wherry.kube_api.rules import check_delete_options
from wherry.schema import errors


def read_options(call: Call, query: dict[str, list[str]]) -> None:
    """Fill in a call from its query. Raises BadRequest, Invalid."""

    def last(name: str) -> str:
        return query[name][0] if name in query else ""

    call.label_selector = last("labelSelector")
    call.field_selector = last("fieldSelector")
    call.resource_version = last("resourceVersion")
    call.resource_version_match = last("resourceVersionMatch")
    call.continue_token = last("continue")
    call.limit = _integer(last("limit"), "limit")
    call.timeout_seconds = _integer(last("timeoutSeconds"), "timeoutSeconds")
    call.allow_bookmarks = _boolean(last("allowWatchBookmarks"))
    if "sendInitialEvents" in query:
        call.send_initial_events = _boolean(last("sendInitialEvents"))
    call.force = _boolean(last("force"))
    manager = last("fieldManager")
    if manager:
        if len(manager) > 128 or not manager.isprintable():
            raise errors.BadRequest("fieldManager: Invalid value: must be printable and at most 128 bytes long")
        call.field_manager = manager
    validation = last("fieldValidation")
    if validation:
        if validation not in ("Ignore", "Warn", "Strict"):
            listed = '"", "Ignore", "Strict", "Warn"'
            raise _unsupported(call, "fieldValidation", f'"{validation}"', listed)
        call.field_validation = validation
    set_dry_run(call, query.get("dryRun") or [])


_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def _unsupported(call: Call, field: str, value: str, listed: str) -> errors.Invalid:
    kind = _KINDS.get(call.verb, "DeleteOptions")
    cause = errors.Cause("FieldValueNotSupported", f"Unsupported value: {value}: supported values: {listed}", field)
    return errors.invalid("meta.k8s.io", kind, "", [cause])


def set_dry_run(call: Call, values: list[str]) -> None:
    for value in values:
        if value and value != "All":
            raise _unsupported(call, "dryRun", orjson.dumps(values).decode(), '"All"')
        call.dry_run = call.dry_run or value == "All"


def delete_options(call: Call, query: dict[str, list[str]], body: Any) -> DeleteOptions:
    """From the body (a DeleteOptions) or, without one, from the query."""
    options = DeleteOptions()
    if body is not None:
        check_delete_options(body)
    if isinstance(body, dict) and body:
        preconditions = body.get("preconditions") or {}
        options.uid = preconditions.get("uid")
        options.resource_version = preconditions.get("resourceVersion")
        options.grace_period_seconds = _whole(body.get("gracePeriodSeconds"), "gracePeriodSeconds")
        options.propagation_policy = body.get("propagationPolicy")
        options.orphan_dependents = body.get("orphanDependents")
        set_dry_run(call, body.get("dryRun") or [])
        return options
    if "gracePeriodSeconds" in query:
        options.grace_period_seconds = _integer(query["gracePeriodSeconds"][0], "gracePeriodSeconds")
    if "propagationPolicy" in query:
        options.propagation_policy = query["propagationPolicy"][0]
    if "orphanDependents" in query:
        options.orphan_dependents = _boolean(query["orphanDependents"][0])
    return options


def _whole(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.BadRequest(f"{name} must be an integer")
    return value


def _integer(text: str, name: str) -> int:
    if not text:
        return 0
    try:
        value = int(text)
    except ValueError:
        raise errors.BadRequest(f'{name}: strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if abs(value) >= 1 << 63:
        raise errors.BadRequest(f'{name}: strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _boolean(text: str) -> bool:
    return text.lower() in ("1", "true", "t")
