from pathlib import Path

import pytest

from wherry.host.instance import DEFAULT_ROOT, DEFAULT_RUN, open_instance


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHERRY_ROOT", raising=False)
    monkeypatch.delenv("WHERRY_RUN", raising=False)


def test_defaults() -> None:
    instance = open_instance()
    assert (instance.root, instance.run) == (DEFAULT_ROOT, DEFAULT_RUN)


def test_environment_moves_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_ROOT", "/srv/a")
    monkeypatch.setenv("WHERRY_RUN", "/srv/b")
    instance = open_instance()
    assert (instance.root, instance.run) == (Path("/srv/a"), Path("/srv/b"))


def test_a_moved_root_never_shares_the_default_run_directory() -> None:
    assert open_instance("/srv/a").run != DEFAULT_RUN
    assert open_instance("/srv/a").run != open_instance("/srv/b").run


def test_the_id_depends_on_the_root_alone() -> None:
    assert open_instance("/srv/a", "/x").id == open_instance("/srv/a", "/y").id
    assert open_instance("/srv/a").id != open_instance("/srv/b").id


def test_link_names_fit_the_kernel() -> None:
    name = open_instance("/srv/a").link_name("b", "0123456789abcdef")
    assert len(name) == 15
