from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.compose.errors import ComposeError
from wherry.compose.load import find_files, normalize_name
from wherry.compose.project import Project

Loaded = Callable[..., Project]


def test_the_name_is_that_of_the_folder_unless_said_otherwise(project: Loaded) -> None:
    text = "services: {a: {image: x}}"
    assert project(text).name == "shop"
    assert project("name: said\n" + text).name == "said"
    assert project("name: ${N}\n" + text, environment={"N": "by-variable"}).name == "by-variable"
    assert project("name: said\n" + text, environment={"COMPOSE_PROJECT_NAME": "env"}).name == "env"
    assert project(text, name="given").name == "given"


def test_folder_names_become_project_names() -> None:
    assert normalize_name("My App.v2") == "myappv2"
    assert normalize_name("_-x") == "x"


def test_files_are_found_here_and_above(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "docker-compose.yml").write_text("")
    (tmp_path / "docker-compose.override.yml").write_text("")
    assert [path.name for path in find_files(inner)] == ["docker-compose.yml", "docker-compose.override.yml"]
    (inner / "compose.yaml").write_text("")
    assert find_files(inner) == [inner / "compose.yaml"]


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="no configuration file provided: not found"):
        find_files(tmp_path)


def test_later_files_win_and_add(project: Loaded) -> None:
    found = project(
        "services: {a: {image: one, environment: {X: '1'}, ports: ['80:80']}}",
        "services: {a: {image: two, environment: [Y=2], ports: ['81:81']}, b: {image: x}}",
    )
    assert found.services["a"]["image"] == "two"
    assert found.services["a"]["environment"] == {"X": "1", "Y": "2"}
    assert [port["target"] for port in found.services["a"]["ports"]] == [80, 81]
    assert list(found.services) == ["a", "b"]


def test_profiles(project: Loaded) -> None:
    text = "services: {a: {image: x}, b: {image: x, profiles: [p]}, c: {image: x, profiles: [q, p]}}"
    assert list(project(text).services) == ["a"]
    assert list(project(text, profiles=["q"]).services) == ["a", "c"]
    assert list(project(text, environment={"COMPOSE_PROFILES": "p"}).services) == ["a", "b", "c"]
    assert list(project(text, profiles=["*"]).services) == ["a", "b", "c"]
    assert list(project(text, enable=["b"]).services) == ["a", "b", "c"]


def test_paths_are_relative_to_their_own_file(project: Loaded, tmp_path: Path) -> None:
    found = project(
        "include: [sub/compose.yaml]\nservices: {a: {extends: {file: other/base.yaml, service: s}}}",
        files={
            "sub/compose.yaml": "services: {b: {image: x, volumes: ['./d:/d']}}",
            "other/base.yaml": "services: {s: {image: x, volumes: ['./e:/e'], env_file: v.env}}",
            "other/v.env": "V=1\n",
        },
    )
    folder = tmp_path / "shop"
    assert found.services["b"]["volumes"][0]["source"] == str(folder / "sub/d")
    assert found.services["a"]["volumes"][0]["source"] == str(folder / "other/e")
    assert found.services["a"]["environment"] == {"V": "1"}


def test_env_file_precedence(project: Loaded) -> None:
    found = project(
        "services: {a: {image: x, env_file: [one.env, two.env], environment: {C: own, D: }}}",
        files={"one.env": "A=1\nB=1\nC=1\n", "two.env": "B=2\n"},
        environment={"D": "shell", "A": "shell does not count"},
    )
    assert found.services["a"]["environment"] == {"A": "1", "B": "2", "C": "own", "D": "shell"}


def test_dot_env_is_for_interpolation_and_the_shell_wins(project: Loaded) -> None:
    text = "services: {a: {image: '${IMAGE}:${TAG}'}}"
    found = project(text, files={".env": "IMAGE=one\nTAG=file\n"}, environment={"TAG": "shell"})
    assert found.services["a"]["image"] == "one:shell"
    assert "environment" not in found.services["a"]


def test_unset_variables_are_warned_of_once(project: Loaded) -> None:
    found = project("services: {a: {image: 'x$NO', hostname: 'y$NO'}}")
    assert found.warnings == ['The "NO" variable is not set. Defaulting to a blank string.']


def test_what_is_carried_but_not_honoured_is_named(project: Loaded) -> None:
    found = project("services: {a: {image: x, storage_opt: {size: 1G}}}")
    assert any("services.a.storage_opt is not honoured" in message for message in found.warnings)


def test_the_obsolete_version_is_warned_of(project: Loaded) -> None:
    assert "`version` is obsolete" in project("version: '3'\nservices: {a: {image: x}}").warnings[0]


def bad(text: str, message: str, line: int, key: str) -> object:
    return pytest.param(text, message, line, key, id=message[:40])


@pytest.mark.parametrize(
    ("text", "message", "line", "key"),
    [
        bad("services:\n  a:\n    image: x\n    prots: ['80']", "additional properties 'prots' not allowed "
            "(did you mean 'ports'?)", 4, "services.a.prots"),
        bad("services:\n  a:\n    image: x\nnetwork: {}", "additional properties 'network' not allowed", 4, "network"),
        bad("services:\n  a:\n    image: [x]", "must be a string, not array", 3, "services.a.image"),
        bad("services:\n  a:\n    image: x\n    ports: 80", "must be an array, not integer", 4, "services.a.ports"),
        bad("services: [a]", "must be a mapping, not array", 1, "services"),
        bad("services:\n  a: null", "must be a mapping, not null", 2, "services.a"),
        bad("services:\n  a: {}", 'service "a" has neither an image nor a build context', 2, "services.a"),
        bad("services:\n  a: {image: x, ports: ['99999:1']}", "Invalid port range: 99999", 2, "services.a.ports[0]"),
        bad("services:\n  a: {image: x, ports: ['1-3:1-2']}", "Invalid ranges specified", 2, "services.a.ports[0]"),
        bad("services:\n  a:\n    image: x\n    networks: [n]", "undefined network n", 4, "services.a.networks"),
        bad("services:\n  a:\n    image: x\n    volumes: ['v:/v']", "undefined volume v", 4, "services.a.volumes"),
        bad("services:\n  a:\n    image: x\n    secrets: [s]", "undefined secret s", 4, "services.a.secrets"),
        bad("services:\n  a:\n    image: x\n    depends_on: [b]", 'depends on undefined service "b"', 4,
            "services.a.depends_on"),
        bad("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}",
            "dependency cycle detected: a -> b -> a", 2, "services.a.depends_on"),
        bad("services:\n  a: {image: x, links: [a]}", "dependency cycle detected: a -> a", 2, "services.a.depends_on"),
        bad("services:\n  a: {extends: b}\n  b: {extends: a}", "circular reference: a -> b -> a", 2,
            "services.a.extends"),
        bad("services:\n  a: {extends: nowhere}", 'service "nowhere" not found', 2, "services.a.extends"),
        bad("services:\n  a: {image: '${X:?is needed}'}", "required variable X is missing a value: is needed", 2,
            "services.a.image"),
        bad("services:\n  a: {image: '${X'}", "Invalid template", 2, "services.a.image"),
        bad("services:\n  a: {image: x, network_mode: host, networks: [n]}\nnetworks: {n: {}}",
            "mutually exclusive `network_mode` and `networks`", 2, "services.a.network_mode"),
        bad("services:\n  a: {image: x, restart: sometimes}", 'unknown policy "sometimes"', 2, "services.a.restart"),
        bad("services:\n  a: {image: x, pull_policy: often}", 'invalid pull_policy "often"', 2,
            "services.a.pull_policy"),
        bad("services:\n  a: {image: x, healthcheck: {interval: 3}}", 'invalid duration "3"', 2,
            "services.a.healthcheck.interval"),
        bad("services:\n  a: {image: x, mem_limit: lots}", "invalid size: 'lots'", 2, "services.a.mem_limit"),
        bad("services:\n  a: {image: x, scale: 2, container_name: c}", "container name must be unique", 2,
            "services.a.container_name"),
        bad("services:\n  a: {image: x, scale: 2, deploy: {replicas: 3}}", "can't set distinct values", 2,
            "services.a.scale"),
        bad("services:\n  a: {image: x, env_file: gone.env}", "gone.env not found", 2, "services.a.env_file"),
        bad("services:\n  a: {image: x}\n  a: {image: y}", 'mapping key "a" already defined at line 2', 3,
            "services.a"),
        bad("services:\n  a: {image: x}\nsecrets:\n  s: {file: a, environment: B}", "exactly one of", 4, "secrets.s"),
        bad("services:\n  'a b': {image: x}", "service name 'a b' is not valid", 2, "services.a b"),
    ],
)  # fmt: skip
def test_errors_name_file_line_and_key(
    project: Loaded, tmp_path: Path, text: str, message: str, line: int, key: str
) -> None:
    with pytest.raises(ComposeError) as caught:
        project(text)
    error = caught.value
    assert message in error.message
    assert (str(error.file), error.line, error.key) == (str(tmp_path / "shop" / "compose.yaml"), line, key)
    assert str(error).startswith(f"{tmp_path}/shop/compose.yaml:{line}: {key}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: [gone.yaml]\nservices: {}", "gone.yaml: no such file or directory"),
        ("services: {a: {extends: {file: gone.yaml, service: b}}}", "gone.yaml: no such file or directory"),
        ("", "empty compose file"),
        ("- a", "top-level object must be a mapping"),
        ("a: [", "yaml:"),
        ("name: UPPER\nservices: {a: {image: x}}", 'invalid project name "UPPER"'),
        ("include: [compose.yaml]\nservices: {a: {image: x}}", "include cycle detected"),
    ],
)
def test_other_errors(project: Loaded, text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        project(text)
    assert message in str(caught.value)


def test_an_include_may_not_say_something_else_of_the_same_thing(project: Loaded) -> None:
    with pytest.raises(ComposeError, match=r"services\.a: conflicts with imported resource of .*/o\.yaml"):
        project("include: [o.yaml]\nservices: {a: {image: x}}", files={"o.yaml": "services: {a: {image: y}}"})
