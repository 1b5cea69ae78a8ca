"""The order in which admission plugins see a write: all that mutate, then (after validation) all that validate."""

from typing import TYPE_CHECKING

from wherry.kube_api.call import Call
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api


class Plugin:
    """An admission plugin. `old` is None for a creation. Refusing is raising an ApiError."""

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        """Change `obj`, which belongs to the plugin, and give it back."""
        return obj

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        """Accept or raise."""

    async def validate_delete(self, api: "Api", call: Call, old: Object) -> None:
        """Accept or raise."""

    async def close(self) -> None:
        """Let go of what the plugin holds."""


class AdmissionChain:
    """Plugins in order."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        for plugin in self.plugins:
            if type(plugin).mutate is not Plugin.mutate:
                obj = await plugin.mutate(api, call, obj, old)
        return obj

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        for plugin in self.plugins:
            if type(plugin).validate is not Plugin.validate:
                await plugin.validate(api, call, obj, old)

    async def validate_delete(self, api: "Api", call: Call, old: Object) -> None:
        for plugin in self.plugins:
            await plugin.validate_delete(api, call, old)

    async def close(self) -> None:
        for plugin in self.plugins:
            await plugin.close()
