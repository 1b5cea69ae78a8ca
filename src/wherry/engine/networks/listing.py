"""Which networks a list or a prune request means: Docker's filters for networks."""

import datetime
import time

from wherry.engine.errors import InvalidParameter
from wherry.engine.filters import Filters
from wherry.engine.networks.definitions import PREDEFINED, Network
from wherry.host.units import moment

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def created_before(filters: Filters) -> datetime.datetime | None:
    """The moment that the filter `until` means: a time stamp, seconds since 1970, or an age such as `24h`."""
    text = filters.one("until")
    if text is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(moment(text, time.time()), datetime.UTC)
    except (ValueError, OverflowError):
        raise InvalidParameter(f"invalid value for until: {text}") from None


def is_listed(network: Network, filters: Filters, used: set[str]) -> bool:
    """`used` are the ids of networks with running containers. Raises InvalidParameter for a bad value."""
    kind = "builtin" if network.name in PREDEFINED else "custom"
    for value in filters.get("type", ()):
        if value not in ("builtin", "custom"):
            raise InvalidParameter(f"invalid filter 'type={value}'")
    if "dangling" in filters and filters.boolean("dangling") != (kind == "custom" and network.id not in used):
        return False
    return (
        filters.match("name", network.name)
        and filters.fuzzy("id", network.id)
        and filters.exact("driver", network.driver)
        and filters.exact("scope", "local")
        and filters.exact("type", kind)
        and filters.labels(network.labels)
    )
