"""What /version answers: the Kubernetes release whose API is served."""

import platform
import sys

from wherry.schema import definitions


def version_info() -> dict[str, str]:
    release = definitions.VERSION.removeprefix("v")
    major, minor = release.split(".")[:2]
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.0+wherry",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "compiler": "cpython",
        "platform": f"linux/{arch}",
    }
