from pathlib import Path

import pytest

from wherry.cli.logs import Printer, lines_of, print_new, print_tail, shown_name


def test_lines_are_joined_across_pieces() -> None:
    assert list(lines_of(iter([b"a\nb", b"c\n", b"\nd"]))) == [b"a", b"bc", b"", b"d"]


def test_a_file_is_followed_through_growth_and_rotation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wherry-node.log"
    path.write_text("one\ntwo\nthree\n")
    printer = Printer()
    printer.add(path.name)
    position = print_tail(path, printer, 2)
    path.write_text("one\ntwo\nthree\nfour\nhal")
    position = print_new(path, printer, position)
    path.write_text("one\ntwo\nthree\nfour\nhalf\n")
    position = print_new(path, printer, position)
    path.write_text("new\n")
    print_new(path, printer, position)
    shown = [line.partition("| ")[2] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["two", "three", "four", "half", "new"]


def test_names_of_containers_and_of_pods_containers() -> None:
    assert shown_name({"Id": "a" * 64, "Names": ["/web"], "Labels": {}}) == "web"
    labels = {"io.kubernetes.pod.name": "web-1", "io.kubernetes.container.name": "app"}
    assert shown_name({"Id": "a" * 64, "Names": ["/k8s_x"], "Labels": labels}) == "web-1/app"
