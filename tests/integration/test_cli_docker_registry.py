"""Wherry's docker command and a registry that asks for a password: login, push, pull, progress, logout."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from own_docker import Pair
from registries import PASSWORD, PROGRAM, USER, registry

if TYPE_CHECKING:
    pass

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(90),
    pytest.mark.skipif(PROGRAM is None, reason="needs docker-registry"),
]


async def test_login_push_pull_logout(pair: Pair, tmp_path: Path) -> None:
    async with registry(tmp_path / "registry", auth="basic") as running:
        name = f"{running.address}/team/box:1"
        assert (await pair.ours("tag", "busybox", name)).code == 0

        refused = await pair.ours("push", name)
        assert refused.code == 1
        assert refused.err.endswith("no basic auth credentials\n")

        wrong = await pair.ours("login", "-u", USER, "--password-stdin", running.address, stdin=b"wrong")
        assert wrong.code == 1
        assert wrong.err.startswith("Error response from daemon: ")

        login = await pair.ours("login", "-u", USER, "--password-stdin", running.address, stdin=PASSWORD.encode())
        assert (login.code, login.out) == (0, "Login Succeeded\n")
        settings = tmp_path / "config.json"
        assert settings.stat().st_mode & 0o777 == 0o600
        assert list(json.loads(settings.read_text())["auths"]) == [running.address]

        pushed = await pair.ours("push", name)
        assert pushed.code == 0, pushed
        real = await pair.real.any("push", name)
        assert real.out.replace("Layer already exists", "Pushed") == pushed.out.replace(
            "Layer already exists", "Pushed"
        )

        await pair.ours("rmi", name, "busybox")
        async with pair.terminal("pull", name, columns=120) as terminal:
            assert await terminal.exit_code() == 0
            await terminal.wait_for(f"Status: Downloaded newer image for {name}")
            assert "Pull complete" in terminal.text or "Already exists" in terminal.text
        again = await pair.ours("pull", name)
        assert again.out == (await pair.real.any("pull", name)).out
        assert (await pair.ours("pull", "-q", name)).out == f"{name}\n"

        await pair.ours("rmi", name)
        ran = await pair.ours("run", "--rm", name, "echo", "pulled")
        assert ran.out == "pulled\n"
        assert ran.err.startswith(f"Unable to find image '{name}' locally\n")

        out = await pair.ours("logout", running.address)
        assert out.out == f"Removing login credentials for {running.address}\n"
        assert (await pair.ours("logout", running.address)).out == f"Not logged in to {running.address}\n"
