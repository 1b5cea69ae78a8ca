"""Which options of LIST and WATCH go together.

Specified in https://kubernetes.io/docs/reference/using-api/api-concepts/#the-resourceversion-parameter and
https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists.
"""

from wherry.kube_api.call import Call
from wherry.schema import errors
from wherry.schema.errors import Cause

_MATCH = "resourceVersionMatch"


def check_list(call: Call) -> None:
    """Raises Invalid, BadRequest."""
    causes = []
    match = call.resource_version_match
    if call.send_initial_events is not None:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match:
        if not call.resource_version:
            causes.append(_forbidden(_MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if call.continue_token:
            causes.append(_forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            causes.append(_unsupported(match, "Exact", "NotOlderThan"))
        if match == "Exact" and call.resource_version == "0":
            causes.append(_forbidden(_MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    _refuse(causes)
    if call.continue_token and call.resource_version not in ("", "0"):
        raise errors.BadRequest("specifying resource version is not allowed when using continue")


def check_watch(call: Call) -> None:
    """Raises Invalid."""
    causes = []
    match = call.resource_version_match
    if call.send_initial_events is not None and match != "NotOlderThan":
        causes.append(_forbidden(_MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match:
        if call.send_initial_events is None:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(_forbidden(_MATCH, why))
        if match != "NotOlderThan":
            causes.append(_unsupported(match, "NotOlderThan"))
        if call.continue_token:
            causes.append(_forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    _refuse(causes)


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _unsupported(value: str, *supported: str) -> Cause:
    listed = ", ".join(f'"{one}"' for one in supported)
    return Cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {listed}', _MATCH)


def _refuse(causes: list[Cause]) -> None:
    if causes:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", causes)
