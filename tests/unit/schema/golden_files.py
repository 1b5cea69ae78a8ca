"""Golden pairs: `golden/<area>/<name>.input.yaml` beside `<name>.output.yaml`.

Set WHERRY_UPDATE_GOLDEN=1 to write the outputs anew, then read the difference before keeping it.
"""

import os
from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).parent / "golden"


def inputs(area: str) -> list[Path]:
    return sorted((GOLDEN / area).glob("*.input.yaml"))


def load(path: Path) -> list[Any]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def check(path: Path, found: list[Any]) -> None:
    """Compare with the output that belongs to `path`, or write it."""
    target = path.with_name(path.name.replace(".input.", ".output."))
    if os.environ.get("WHERRY_UPDATE_GOLDEN"):
        target.write_text(yaml.safe_dump_all(found, sort_keys=False))
    assert found == load(target)
