"""What a printer is: the columns of a kind's table, and the function that makes a row of an object."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wherry.schema.duration import age

JsonDict = dict[str, Any]
Row = Callable[[JsonDict, datetime], list[Any]]

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Column:
    """One column. `priority` 0 is always shown, 1 only with `-o wide`."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""

    def definition(self) -> JsonDict:
        """As it stands in a Table's columnDefinitions."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True)
class Printer:
    columns: tuple[Column, ...]
    row: Row


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", description="Time since the object was created.")
CREATED_AT = Column("Created At", description="When the object was created.")


def wide(name: str, type: str = "string") -> Column:
    return Column(name, type, priority=1)


def columns(*names: str | Column) -> tuple[Column, ...]:
    """Columns from their names; Name and Age are known, the rest are strings."""
    known = {"Name": NAME, "Age": AGE, "Created At": CREATED_AT}
    return tuple(one if isinstance(one, Column) else known.get(one) or Column(one) for one in names)


def meta(obj: JsonDict) -> JsonDict:
    return obj.get("metadata") or {}


def name_of(obj: JsonDict) -> str:
    return meta(obj).get("name") or ""


def age_of(obj: JsonDict, now: datetime) -> str:
    return age(meta(obj).get("creationTimestamp"), now)


def format_labels(labels: JsonDict | None) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def containers_and_images(template: JsonDict | None) -> tuple[str, str]:
    """Names and images of a template's containers, joined by commas."""
    containers = ((template or {}).get("spec") or {}).get("containers") or []
    return ",".join(one.get("name", "") for one in containers), ",".join(one.get("image", "") for one in containers)


def abbreviated(items: list[str], most: int = 3, empty: str = NONE) -> str:
    """`a,b,c + 2 more...`."""
    if not items:
        return empty
    shown = ",".join(items[:most])
    return f"{shown} + {len(items) - most} more..." if len(items) > most else shown
