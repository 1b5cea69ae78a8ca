"""Names and ids of containers: checks, and names made up for those who give none."""

import re
import secrets

from wherry.engine.errors import InvalidParameter

NAME = re.compile(r"^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$")

_FIRST = (
    "able", "amber", "apt", "bold", "brave", "brisk", "calm", "candid", "civil", "clear", "clever", "cosy", "crisp",
    "daring", "deft", "eager", "early", "easy", "fair", "fleet", "fond", "frank", "free", "fresh", "gentle", "glad",
    "golden", "grand", "hardy", "hasty", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "placid", "plain", "polite",
    "proud", "quick", "quiet", "ready", "robust", "rosy", "sage", "serene", "sharp", "silent", "sleek", "smart",
    "snug", "sober", "steady", "stoic", "subtle", "sunny", "sure", "swift", "tidy", "trim", "true", "upbeat", "vivid",
    "warm", "wise", "witty", "young", "zesty",
)  # fmt: skip
_SECOND = (
    "anchor", "barge", "beacon", "bosun", "bowline", "breeze", "buoy", "cabin", "canal", "capstan", "captain",
    "cargo", "coast", "compass", "coral", "cove", "crane", "current", "cutter", "deck", "delta", "dinghy", "dock",
    "dory", "drift", "estuary", "ferry", "fjord", "fleet", "galley", "gull", "harbor", "helm", "hull", "inlet",
    "islet", "jetty", "kayak", "keel", "ketch", "lagoon", "lantern", "ledge", "locker", "lugger", "marina", "mast",
    "mooring", "oar", "osprey", "otter", "paddle", "pelican", "pier", "pilot", "porter", "quay", "raft", "reef",
    "rigging", "river", "rudder", "sail", "schooner", "seal", "sextant", "shoal", "skiff", "skipper", "sloop",
    "spinnaker", "spray", "squall", "stern", "strait", "tern", "tide", "tiller", "trawler", "tug", "vane", "wave",
    "wharf", "wherry", "winch", "yawl",
)  # fmt: skip


def new_id() -> str:
    """64 hexadecimal digits; never all decimal in the first 12, so that a short id is no valid number."""
    while True:
        value = secrets.token_hex(32)
        if not value[:12].isdigit():
            return value


def made_up(attempt: int) -> str:
    """`steady_harbor`, with a number from the second attempt on."""
    name = f"{secrets.choice(_FIRST)}_{secrets.choice(_SECOND)}"
    return f"{name}{secrets.randbelow(10 ** min(attempt, 6))}" if attempt else name


def check(name: str) -> str:
    """The name without its leading slash. Raises InvalidParameter."""
    if not NAME.match(name):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")
