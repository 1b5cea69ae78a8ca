"""What a runtime says when it cannot start a command, in Docker's words."""

import pytest

from wherry.engine.runtime import explain

RUNC = (
    'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start container process: exec: '
    '\\"nope\\": executable file not found in $PATH"'
)


@pytest.mark.parametrize(
    ("raw", "command", "said"),
    [
        (RUNC, "nope", 'exec: "nope": executable file not found in $PATH'),
        (
            "crun: executable file `nope` not found in $PATH: x",
            "nope",
            'exec: "nope": executable file not found in $PATH',
        ),
        ("open executable: Operation not permitted", "/etc", 'exec: "/etc": is a directory: permission denied'),
        ('{"msg": "exec `/etc/passwd`: Permission denied"}', "/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_errors_are_explained(raw: str, command: str, said: str) -> None:
    assert explain(raw, [command]) == said
