"""Every verb of the table has its module, its flags and its help."""

from typing import Any

import pytest

from wherry.cli.kubectl import main

REFUSED = ("certificate", "debug", "proxy", "kustomize")


def modules() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def add(command: str, table: dict[str, tuple[str, str]]) -> None:
        for name, (module, _) in table.items():
            found.append((f"{command} {name}", module))
            add(f"{command} {name}", getattr(main.load(module), "VERBS", {}))

    add("kubectl", main.VERBS)
    return found


@pytest.mark.parametrize(("command", "module"), modules())
def test_help(command: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    loaded: Any = main.load(module)
    assert loaded.HELP and isinstance(loaded.FLAGS, tuple)
    assert main.main([*command.split()[1:], "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", REFUSED)
def test_what_is_not_supported_is_refused_by_name(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([verb]) == 1
    assert f"`kubectl {verb}` is not supported" in capsys.readouterr().err


def test_an_unknown_command_names_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["gett"]) == 1
    assert capsys.readouterr().err == 'Error: unknown command "gett" for "kubectl"\n\nDid you mean this?\n\tget\n\n'


def test_an_unknown_flag_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["get", "pods", "--nope"]) == 1
    assert capsys.readouterr().err == "Error: unknown flag: --nope\nSee 'kubectl get --help' for usage.\n"
