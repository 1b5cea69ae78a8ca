"""The page that describe writes: lines with tabs that are aligned at the end, and the parts that all kinds share."""

import json
from typing import Any

from wherry.cli.kubectl import table, times

Object = dict[str, Any]
SKIPPED_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)
MAX_ANNOTATION = 140


class Writer:
    """Text with tabs. `line` indents by two spaces per level."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def raw(self, text: str) -> None:
        self.parts.append(text)

    def line(self, level: int, text: str) -> None:
        self.parts.append("  " * level + text + "\n")

    def field(self, name: str, value: Any, level: int = 0) -> None:
        self.line(level, f"{name}:\t{value}")

    def text(self) -> str:
        """The aligned page."""
        return table.tabbed("".join(self.parts), padding=2, minimum=0)

    def labels(self, title: str, labels: dict[str, str] | None, indent: str = "", inner: str = "\t") -> None:
        """One `key=value` a line, below each other."""
        items = [f"{key}={value}" for key, value in sorted((labels or {}).items())]
        self.below(title, items, indent, inner)

    def below(self, title: str, items: list[str], indent: str = "", inner: str = "\t") -> None:
        self.raw(f"{indent}{title}:{inner}")
        if not items:
            self.raw("<none>\n")
            return
        for index, item in enumerate(items):
            if index:
                self.raw(indent + inner)
            self.raw(item + "\n")

    def annotations(self, annotations: dict[str, str] | None, title: str = "Annotations") -> None:
        self.raw(f"{title}:\t")
        shown = {key: value for key, value in (annotations or {}).items() if key not in SKIPPED_ANNOTATIONS}
        if not shown:
            self.raw("<none>\n")
            return
        for index, key in enumerate(sorted(shown)):
            if index:
                self.raw("\t")
            value = shown[key].removesuffix("\n")
            if len(value) + len(key) + 2 > MAX_ANNOTATION or "\n" in value:
                self.raw(f"{key}:\n")
                for part in value.split("\n"):
                    self.raw(f"\t  {part if len(part) <= MAX_ANNOTATION - 2 else part[: MAX_ANNOTATION - 2] + '...'}\n")
            else:
                self.raw(f"{key}: {value}\n")


def time_of(text: Any) -> str:
    """A time in RFC 1123; Go's zero time when there is none."""
    return times.local_time(text) if text else "Mon, 01 Jan 0001 00:00:00 +0000"


def since(text: Any) -> str:
    return times.age(text)


def label_text(labels: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def selector_text(selector: Any) -> str:
    from wherry.schema.selectors import format_label_selector

    text = format_label_selector(selector)
    return text if text else "<none>"


def boolean(value: Any) -> str:
    return "True" if value else "False"


def controller(obj: Object) -> str:
    """`Kind/name` of the owner that controls an object; empty without one."""
    for owner in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner['kind']}/{owner['name']}"
    return ""


def events(out: Writer, found: list[Object] | None) -> None:
    """The section at the end; None leaves it out."""
    if found is None:
        return
    if not found:
        out.field("Events", "<none>")
        return

    def when(event: Object) -> str:
        series = event.get("series") or {}
        return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")

    found = sorted(found, key=when)
    out.raw("Events:\n  Type\tReason\tAge\tFrom\tMessage\n")
    out.line(1, "----\t------\t----\t----\t-------")
    for event in found:
        first = event.get("firstTimestamp") or event.get("eventTime")
        count = int((event.get("series") or {}).get("count") or event.get("count") or 0)
        if count > 1:
            age = f"{since(when(event) or first)} (x{count} over {since(first)})"
        else:
            age = since(first)
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
        message = str(event.get("message") or "").strip()
        out.line(1, f"{event.get('type', '')}\t{event.get('reason', '')}\t{age}\t{source}\t{message}")


def quoted(text: Any) -> str:
    return json.dumps(str(text))
