"""The archives of the test images, made when they are missing."""

import subprocess
import sys
from pathlib import Path

_IMAGES = Path(__file__).parents[1] / "images"


def stand_in(name: str) -> Path:
    """The archive of an image that `tests/images` builds (nginx, postgres, python, …). Blocks, the first time long."""
    return _made("build_images.py", name)


def base(name: str) -> Path:
    """The archive of `busybox` or `debian`."""
    return _made("make_images.py", name)


def _made(program: str, name: str) -> Path:
    made = subprocess.run([sys.executable, _IMAGES / program, name], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())
