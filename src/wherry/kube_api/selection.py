"""Which objects a list, watch or deletecollection means: namespace, label selector and field selector together."""

from collections.abc import Iterable

from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.schema import errors, selectors


class Selection:
    """The objects of one call. `everything` tells that only the namespace limits it.

    `further` are paths that a custom resource's definition lets field selectors use."""

    __slots__ = ("everything", "fields", "labels", "name", "namespace")

    def __init__(self, call: Call, further: Iterable[str] = ()) -> None:
        self.namespace = call.namespace if call.resource.namespaced else None
        self.labels: selectors.Selector | None = None
        self.fields: selectors.FieldSelector | None = None
        self.name = call.name
        try:
            if call.label_selector:
                labels = selectors.parse_labels(call.label_selector)
                self.labels = None if labels.empty else labels
            if call.field_selector:
                fields = selectors.parse_fields(call.field_selector)
                selectors.check_fields(fields, call.resource.group, call.resource.kind, further)
                self.name = fields.exact("metadata.name") or self.name
                if self.namespace is None and call.resource.namespaced:
                    self.namespace = fields.exact("metadata.namespace")
                by_name = all(
                    one.path in ("metadata.name", "metadata.namespace") and not one.negated
                    for one in fields.requirements
                )
                self.fields = None if fields.empty or by_name else fields
        except ValueError as error:
            raise errors.BadRequest(str(error)) from error
        self.everything = self.labels is None and self.fields is None and self.name is None

    def matches(self, entry: Entry) -> bool:
        """Whether an entry (in the version that was asked for) is meant."""
        if self.namespace is not None and entry.namespace != self.namespace:
            return False
        if self.name is not None and entry.name != self.name:
            return False
        if self.labels is None and self.fields is None:
            return True
        obj = entry.peek()
        if self.labels is not None and not self.labels.matches(obj["metadata"].get("labels")):
            return False
        return self.fields is None or self.fields.matches(obj)
