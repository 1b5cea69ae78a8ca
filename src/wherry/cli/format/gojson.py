"""JSON as Go writes it: `wherry.docker_api.lean_json` under the name that the formats know it by."""

from wherry.docker_api.lean_json import dumps, go_float, loads, quote, scan

__all__ = ["dumps", "go_float", "loads", "quote", "scan"]
