from pathlib import Path

from wherry.host import project_quotas


def test_the_kernels_structures_have_their_sizes() -> None:
    assert project_quotas._attributes.size == 28
    assert project_quotas._quota.size == 72


def test_what_is_no_directory_is_not_limited(tmp_path: Path) -> None:
    assert not project_quotas.limit(tmp_path / "nothing", 1 << 20)
    (tmp_path / "file").touch()
    assert not project_quotas.limit(tmp_path / "file", 1 << 20)
