"""The start of a command costs its imports: heavy modules stay out of the common path."""

import subprocess
import sys

HEAVY = (
    "click",
    "orjson",
    "yaml",
    "inspect",
    "dataclasses",
    "asyncio",
    "http.client",
    "email",
    "cryptography",
    "subprocess",
)


def test_get_imports_nothing_heavy() -> None:
    code = (
        "import sys; import wherry.cli.kubectl.main, wherry.cli.kubectl.get, wherry.cli.kubectl.session, "
        f"wherry.cli.kubectl.output; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
