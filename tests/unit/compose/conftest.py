"""Projects out of text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.compose.load import load, read_environment
from wherry.compose.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """`project(text, more, environment={...}, files={name: text})`: the project of Compose files in a folder `shop`."""
    folder = tmp_path / "shop"

    def make(
        *texts: str, environment: dict[str, str] | None = None, files: dict[str, str] | None = None, **options: Any
    ) -> Project:
        folder.mkdir(exist_ok=True)
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        paths = []
        for number, text in enumerate(texts):
            paths.append(folder / f"compose{number or ''}.yaml")
            paths[-1].write_text(text)
        return load(paths, environment=read_environment(folder, None, environment or {}), **options)

    return make
