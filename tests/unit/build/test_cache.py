from pathlib import Path

import pytest

from wherry.build.cache import DEFAULT_BUDGET, budget_of


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        (None, DEFAULT_BUDGET),
        ("{}", DEFAULT_BUDGET),
        ('{"builder": {"gc": {}}}', DEFAULT_BUDGET),
        ('{"builder": {"gc": {"enabled": false}}}', None),
        ('{"builder": {"gc": {"enabled": true, "defaultKeepStorage": "20GB"}}}', 20 << 30),
        ('{"builder": {"gc": {"defaultReservedSpace": "1.5 MiB", "defaultKeepStorage": "1"}}}', 3 << 19),
        ('{"builder": {"gc": {"defaultKeepStorage": "4096"}}}', 4096),
        ('{"builder": {"gc": {"defaultKeepStorage": "much"}}}', DEFAULT_BUDGET),
        ('{"builder": {"gc": []}}', DEFAULT_BUDGET),
        ("{", DEFAULT_BUDGET),
    ],
)
def test_the_budget_is_that_of_daemon_json(tmp_path: Path, text: str | None, budget: int | None) -> None:
    path = tmp_path / "daemon.json"
    if text is not None:
        path.write_text(text)
    assert budget_of(path) == budget
