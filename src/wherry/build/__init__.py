"""Dockerfile → image. Start at `builder.Builder`; `build` and `BuildOptions` are what other houses use."""

from .builder import Builder, build
from .cache import BuildCache
from .errors import BuildError, DockerfileError, InvalidOptions, StepFailed
from .options import BuildOptions

__all__ = [
    "BuildCache",
    "BuildError",
    "BuildOptions",
    "Builder",
    "DockerfileError",
    "InvalidOptions",
    "StepFailed",
    "build",
]
