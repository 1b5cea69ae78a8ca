"""Errors of a build, in the words of Docker's builder."""

from typing import ClassVar


class BuildError(Exception):
    """A build that cannot go on. `status` is the HTTP status when nothing has been streamed yet."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DockerfileError(BuildError):
    """The Dockerfile cannot be what it says; `line` is where (1-based, 0 for the whole file)."""

    status = 400

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class InvalidOptions(BuildError):
    """An option of the build that makes no sense, or that this builder refuses by name."""

    status = 400


class StepFailed(BuildError):
    """A RUN instruction ended with an exit code other than 0."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
