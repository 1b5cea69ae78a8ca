"""What an image looks like while it is being built: its configuration, its layers, its history."""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..images.blobs import canonical_json, digest_of
from ..images.catalog import Image, timestamp
from ..images.layers import chain_ids
from ..images.store import architecture

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PREDEFINED_ARGS = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Usable without ARG, and without a place in the cache key or the history."""


@dataclass
class StageState:
    """The stage so far. `document` is a complete OCI image configuration; `key` names it in the cache."""

    document: dict[str, Any]
    key: str
    args: dict[str, str | None] = field(default_factory=dict)
    """Build arguments in scope; None is declared without a value."""
    base: str = ""
    """The image's id, when it is known: that of the base or of a cached step, as long as nothing has been changed."""
    command_set: bool = False
    """Whether this stage has a CMD of its own, which a later ENTRYPOINT then keeps."""

    @classmethod
    def begin(cls, image: Image | None, key: str, platform: tuple[str, str] | None = None) -> "StageState":
        if image is None:
            document: dict[str, Any] = {
                "architecture": platform[1] if platform else architecture(),
                "os": platform[0] if platform else "linux",
                "config": {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"},
                "rootfs": {"type": "layers", "diff_ids": []},
                "history": [],
            }
        else:
            document = copy.deepcopy(image.config)
            for unwanted in ("container", "container_config", "docker_version", "id", "parent"):
                document.pop(unwanted, None)
            document.setdefault("config", {})
            document["config"] = document["config"] or {}
            document.setdefault("history", [])
            document["history"] = document["history"] or []
        config = document["config"]
        if not any(entry.startswith("PATH=") for entry in config.get("Env") or ()):
            config["Env"] = [*(config.get("Env") or []), f"PATH={DEFAULT_PATH}"]
        return cls(document, key, base=image.id if image else "")

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["config"]
        return found

    @property
    def chain_id(self) -> str | None:
        chains = chain_ids(self.document["rootfs"]["diff_ids"])
        return chains[-1] if chains else None

    @property
    def image_id(self) -> str:
        """The id of the image that the stage would be now."""
        return self.base or digest_of(canonical_json(self.document))

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.partition("=")[::2] for entry in self.config.get("Env") or ())

    def variables(self) -> dict[str, str]:
        """What `$name` means in instructions: build arguments, overridden by the environment."""
        declared = {name: value for name, value in self.args.items() if value is not None}
        return {**declared, **self.environment}

    def set_env(self, name: str, value: str) -> None:
        entries = self.config.get("Env") or []
        new = f"{name}={value}"
        for at, entry in enumerate(entries):
            if entry.partition("=")[0] == name:
                entries[at] = new
                break
        else:
            entries = [*entries, new]
        self.config["Env"] = entries

    def advance(self, *inputs: str) -> None:
        """Derive the next step's key."""
        digest = hashlib.sha256(self.key.encode())
        for item in inputs:
            digest.update(b"\0" + item.encode("utf-8", "surrogateescape"))
        self.key = "step:" + digest.hexdigest()

    def take(self, document: dict[str, Any], image_id: str) -> None:
        """Go on from the result of a step that was found in the cache."""
        self.document, self.base = document, image_id

    def add_history(self, created_by: str, diff_id: str | None, epoch: int | None) -> None:
        self.base = ""
        now = moment(epoch)
        step: dict[str, Any] = {"created": now, "created_by": created_by}
        if self.document.get("author"):
            step["author"] = self.document["author"]
        if diff_id is None:
            step["empty_layer"] = True
        else:
            self.document["rootfs"]["diff_ids"].append(diff_id)
        self.document["history"].append(step)
        self.document["created"] = now


def moment(epoch: int | None) -> str:
    return timestamp(datetime.now(UTC) if epoch is None else datetime.fromtimestamp(epoch, UTC))


def stable(value: Mapping[str, Any] | list[Any] | str) -> str:
    """A value as text that depends on nothing but the value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
