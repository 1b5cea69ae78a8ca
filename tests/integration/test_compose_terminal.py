"""`wherry compose` in a terminal: progress drawn over, colours, raw mode, window sizes, Ctrl-C once and twice."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from compose_project import SLEEPER, Compose, engine_with_busybox, project_in
from terminal import Terminal

from wherry.testing.plugin import RunningWherry

if TYPE_CHECKING:
    from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

PATIENCE = 40.0
STUBBORN = (
    "image: busybox, stop_grace_period: 600s, command: sh -c 'trap \"\" TERM; echo up; while true; do sleep 1; done'"
)


@pytest.fixture(scope="module")
def engine(wherry_instances: "TestInstances") -> Iterator[RunningWherry]:
    yield from engine_with_busybox(wherry_instances)


@pytest.fixture
def compose(engine: RunningWherry, tmp_path: Path) -> Iterator[Compose]:
    yield from project_in(engine, tmp_path)


def terminal(compose: Compose, *arguments: str) -> Terminal:
    env = {key: value for key, value in compose.running.env.items() if key not in ("NO_COLOR", "COMPOSE_ANSI")}
    return Terminal([*compose.command, "--project-directory", str(compose.folder), *arguments], env, columns=110)


async def test_progress_is_drawn_in_place(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n  b: {{{SLEEPER}, depends_on: [a]}}\n")
    async with terminal(compose, "up", "-d") as screen:
        assert await screen.exit_code(PATIENCE) == 0
        await screen.wait_for("✔ Container shop-b-1", PATIENCE)
        shown = [line.rstrip() for line in screen.text.splitlines()]
    assert shown[0] == "[+] Running 3/3"
    assert [re.sub(r"\s+\d+\.\ds$", "", line) for line in shown[1:]] == [
        " ✔ Network shop_default  Created",
        " ✔ Container shop-a-1    Started",
        " ✔ Container shop-b-1    Started",
    ]
    assert b"\x1b[32m" in screen.raw


async def test_progress_without_colours_and_in_other_forms(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n")
    async with terminal(compose, "--ansi", "never", "up", "-d") as screen:
        assert await screen.exit_code(PATIENCE) == 0
        await screen.wait_for("Container shop-a-1  Started", PATIENCE)
    assert b"\x1b[" not in screen.raw
    lines = compose("--progress", "json", "up", "-d", "--force-recreate").err.splitlines()
    assert '{"id": "Container shop-a-1", "status": "Done", "text": "Started"}' in lines
    assert compose("--progress", "quiet", "up", "-d", "--force-recreate").err == ""


async def test_exec_and_run_have_the_terminal(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n")
    compose("up", "-d")
    async with terminal(compose, "exec", "a", "sh") as screen:
        await screen.wait_for("/ #", PATIENCE)
        screen.type("stty size\r")
        await screen.wait_for("24 110", PATIENCE)
        screen.resize(30, 100)
        screen.type("clear; while [ \"$(stty size)\" != '30 100' ]; do true; done; echo re''sized\r")
        await screen.wait_for("resized", PATIENCE)
        screen.type("sh -c 'echo a''sleep; exec sleep 1000'\r")
        await screen.wait_for("asleep", PATIENCE)
        screen.type("\x03")  # goes to the shell in there: this command does not end
        screen.type("echo $?; exit 6\r")
        assert await screen.exit_code(PATIENCE) == 6
        assert "130" in screen.text
    async with terminal(compose, "run", "--rm", "a", "sh") as screen:
        await screen.wait_for("/ #", PATIENCE)
        screen.type("tty; exit 7\r")
        assert await screen.exit_code(PATIENCE) == 7
        await screen.wait_for("/dev/pts/0", PATIENCE)
    assert set(compose.ps()) == {"shop-a-1"}


async def test_attach_joins_what_runs(compose: Compose) -> None:
    compose.write("services:\n  a: {image: busybox, tty: true, stdin_open: true, command: sh, stop_signal: SIGKILL}\n")
    compose("up", "-d")
    async with terminal(compose, "attach", "a") as screen:
        screen.type("echo at''tached; exit 5\r")
        await screen.wait_for("attached", PATIENCE)
        assert await screen.exit_code(PATIENCE) == 5


async def test_logs_in_the_foreground_have_colours_and_ctrl_c_stops_at_leisure_and_then_at_once(
    compose: Compose,
) -> None:
    compose.write(f"services:\n  a: {{{STUBBORN}}}\n  b: {{{STUBBORN}}}\n")
    async with terminal(compose, "up") as screen:
        await screen.wait_for("b-1  | up", PATIENCE)
        await screen.wait_for("a-1  | up", PATIENCE)
        colours = {match[1]: match[0] for match in re.findall(rb"(\x1b\[[0-9;]+m)([ab]-1)", screen.raw)}
        assert len(set(colours.values())) == 2
        screen.type("\x03")
        await screen.wait_for("Gracefully Stopping... press Ctrl+C again to force", PATIENCE)
        await screen.wait_for("Stopping", PATIENCE)
        screen.type("\x03")
        assert await screen.exit_code(PATIENCE) == 130
    assert {(one["State"], one["ExitCode"]) for one in compose.ps().values()} == {("exited", 137)}


async def test_rm_asks_first(compose: Compose) -> None:
    compose.write("services:\n  a: {image: busybox, command: 'true'}\n")
    compose("up", "-d")
    compose("wait", "a")
    async with terminal(compose, "rm") as screen:
        await screen.wait_for("Are you sure?", PATIENCE)
        screen.type("n\r")
        assert await screen.exit_code(PATIENCE) == 0
    assert set(compose.ps()) == {"shop-a-1"}
    async with terminal(compose, "rm") as screen:
        await screen.wait_for("Are you sure?", PATIENCE)
        screen.type("y\r")
        assert await screen.exit_code(PATIENCE) == 0
    assert compose.ps() == {}


async def test_a_terminal_is_left_as_it_was(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n")
    compose("up", "-d")
    script = " ".join((*compose.command, "--project-directory", str(compose.folder), "exec", "a", "true"))
    async with Terminal(["sh", "-c", f"stty -a > {compose.folder}/before; {script}; stty -a > {compose.folder}/after"],
                        dict(os.environ | compose.running.env)) as screen:  # fmt: skip
        assert await screen.exit_code(PATIENCE) == 0
    assert (compose.folder / "before").read_text() == (compose.folder / "after").read_text()
