"""`docker build`, with BuildKit's options and display, on the engine's own builder."""

from __future__ import annotations

import os
import sys
import time

from wherry.cli.docker.container.create_flags import add_host, ulimit
from wherry.cli.docker.errors import CliError
from wherry.cli.docker.image.build_progress import Dockerfile, Live, Plain, Quiet, Step
from wherry.cli.docker.image.build_wishes import Wanted
from wherry.cli.docker.image.context import Context
from wherry.cli.format.units import human_size
from wherry.docker_api import build_request
from wherry.docker_api.client import CannotConnect, DockerError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] PATH | URL | -"
ARGUMENTS = (1, 1)
TYPES = {"add-host": add_host, "ulimit": ulimit}
FLAGS = """
  add-host add-host        Further name and address for /etc/hosts of RUN (name:address)
  build-arg list           Build argument (NAME=VALUE, or NAME to pass it on)
  build-context list       Further context: NAME=FOLDER or NAME=docker-image://IMAGE
  cache-from strings       Images whose layers may serve as cache
  cache-to list            Where to write the cache
  cgroup-parent string     Parent of the cgroup of RUN
  check                    Say what the build checks find, and build nothing
  compress                 Accepted; the context goes over a local socket
  cpu-period int           Period of the CPU limit of RUN, in microseconds
  cpu-quota int            CPU time per period, in microseconds
c,cpu-shares int           Share of CPU time, relative to others
  cpuset-cpus string       CPUs that may be used (0-3, 0,1)
  cpuset-mems string       Memory nodes that may be used (0-3, 0,1)
f,file string              Dockerfile (PATH/Dockerfile; - for standard input)
  force-rm                 Accepted; nothing is left behind
  iidfile string           Write the image's id to this file
  isolation string         Isolation technology
  label list               Label (NAME=VALUE)
  load                     Accepted; the image is in the engine's store in any case
  metadata-file string     Write what came of the build to this file, as JSON
m,memory bytes             Limit of memory of RUN
  memory-swap bytes        Limit of memory and swap together; -1 is no limit
  network string=default   Network of RUN: default, none, host
  no-cache                 Build everything anew
  no-cache-filter strings  Build these stages anew
o,output list              Where to put the result: FOLDER, -, or type=local|tar|oci|docker|image|registry,dest=PATH
  platform string          Platform of the image
  progress string=auto     Display: auto, plain, tty, quiet
  provenance string        Provenance attestation
  pull                     Look for newer base images
  push                     Push the image when it is built
q,quiet                    Print only the image's id
  rm=true                  Accepted; nothing is left behind
  sbom string              Software bill of materials
  secret list              Secret for RUN: id=NAME[,src=FILE|,env=VARIABLE]
  security-opt strings     Security option of RUN
  shm-size bytes           Size of /dev/shm of RUN
  squash                   One layer for all
  ssh list                 SSH agent for RUN
t,tag list                 Name of the image (NAME[:TAG])
  target string            Stage to build
  ulimit ulimit            Resource limit of RUN (NAME=SOFT[:HARD])
"""
_REFUSED = {
    "cache-to": "writing the cache elsewhere",
    "cgroup-parent": "a cgroup parent",
    "isolation": "isolation technologies",
    "security-opt": "security options",
    "squash": "squashing",
    "ssh": "SSH agents",
}
_OFF = ("", "false", "0", "mode=disabled", "disabled=true")


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    _refuse(flags)
    wanted = Wanted(flags)
    display = flags["progress"] if flags.given("progress") else os.environ.get("BUILDKIT_PROGRESS") or "auto"
    if display not in ("auto", "plain", "tty", "quiet"):
        raise CliError(f"ERROR: invalid progress mode {display}: use auto, plain, tty or quiet")
    quiet = flags["quiet"] or display == "quiet"
    live = display == "tty" or (display == "auto" and sys.stderr.isatty())
    view: Plain | Live | Quiet = Quiet() if quiet else Live(sys.stderr) if live else Plain(sys.stderr)
    build = _Build(cli, flags, view, wanted)
    try:
        for destination in wanted.destinations:
            destination.open()
        image = build.run(arguments[0])
    except (CliError, CannotConnect):
        view.close(True)
        raise
    except DockerError as error:
        view.close(True)
        raise CliError(f"ERROR: failed to solve: {error.message}") from None
    finally:
        for destination in wanted.destinations:
            destination.abandon()
    view.close(False)
    if wanted.wishes.check:
        from wherry.cli.docker.image.build_checks import report

        return report(cli, build.checks, build.dockerfile, build.name)
    if not quiet:
        _warn(build.warnings)
    _write(flags["iidfile"], image)
    _write(flags["metadata-file"], _metadata(image, wanted.tags))
    if quiet and not any(destination.path == "-" for destination in wanted.destinations):
        cli.out(image)
    if wanted.push:
        from wherry.cli.docker.program import run_command

        for tag in wanted.tags:
            if code := run_command(cli, "image push", "docker push", [tag]):
                return code
    return 0


def _refuse(flags: Flags) -> None:
    for name, what in _REFUSED.items():
        if flags[name]:
            raise CliError(f"ERROR: --{name} is not supported: this builder has no {what}")
    for name in ("provenance", "sbom"):
        if flags[name].lower() not in _OFF:
            raise CliError(f"ERROR: --{name} is not supported: this builder makes no attestations")


def _write(path: str, text: str) -> None:
    if path:
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CliError(f"ERROR: open {path}: {(error.strerror or '').lower()}") from None


def _metadata(image: str, tags: list[str]) -> str:
    """What --metadata-file holds."""
    from wherry.cli.docker.image.pull import canonical
    from wherry.cli.format.gojson import dumps

    found = {"containerimage.config.digest": image, "containerimage.digest": image}
    if tags:
        found["image.name"] = ",".join(canonical(tag) for tag in tags)
    return dumps(found, indent="  ", escape_html=False) + "\n"


def _warn(warnings: list[str]) -> None:
    """What the build checks found, after the steps, as buildx puts it."""
    if not warnings:
        return
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    head = f"{count} found (use docker --debug to expand):"
    if sys.stderr.isatty():
        head = f"\x1b[33m{head}\x1b[0m"
    sys.stderr.write(f"\n {head}\n" + "".join(f" - {text}\n" for text in warnings))


class _Build:
    """One build: what is sent, and what its answer means for the display."""

    def __init__(self, cli: Cli, flags: Flags, view: Plain | Live | Quiet, wanted: Wanted) -> None:
        self.wanted = wanted
        self.warnings: list[str] = []
        self.checks: list[dict[str, Any]] = []
        self.cli = cli
        self.flags = flags
        self.view = view
        self.number = 0
        self.step: Step | None = None
        self.image = ""
        self.name = "Dockerfile"
        self.dockerfile = Dockerfile("")
        self._inside = ""
        self._rest = ""

    def run(self, source: str) -> str:
        """The id of the image. CliError when the build fails."""
        context, remote = self._context(source)
        load = self._begin("[internal] load build context") if context is not None else None
        pieces = [context] if isinstance(context, bytes) else context.pieces() if context is not None else []
        wishes = self.wanted.wishes
        headers = self.cli.config.build_header()
        answer = build_request.send(self.cli.client, self._query(remote), pieces, wishes, headers)
        if load is not None:
            size = len(context) if isinstance(context, bytes) else context.sent if context else 0
            self.view.note(load, f"transferring context: {human_size(size)} done")
            self._end()
        for message in build_request.messages(answer, lambda at, data: self.wanted.destinations[at].write(data)):
            self._message(message)
        self._end()
        if not wishes.check:
            self._finish()
        return self.image

    def _begin(self, title: str, line: int = 0) -> Step:
        self._end()
        self.number += 1
        self.step = Step(self.number, title, line)
        self.view.begin(self.step)
        return self.step

    def _end(self, failed: str = "") -> None:
        if self.step is None:
            return
        if self._rest:
            self._line(self._rest)
            self._rest = ""
        self.step.ended = time.monotonic()
        self.step.failed = failed
        self.view.end(self.step)
        self.step = None

    # What is sent.

    def _context(self, source: str) -> tuple[Context | bytes | None, str]:
        named = self.flags["file"]
        if source == "-":
            data = sys.stdin.buffer.read()
            if _is_archive(data):
                self.name = named or "Dockerfile"
                return data, ""
            return self._with(Context("", "Dockerfile", data), data, "-"), ""
        if source.startswith(("http://", "https://", "git://", "git@", "github.com/")):
            return None, source
        if not os.path.isdir(source):
            raise CliError(f'ERROR: unable to prepare context: path "{source}" not found')
        if named == "-":
            data = sys.stdin.buffer.read()
            return self._with(Context(source, ".dockerfile.stdin", data), data, "-"), ""
        path = named or os.path.join(source, "Dockerfile")
        if not named and not os.path.exists(path) and os.path.exists(os.path.join(source, "dockerfile")):
            path = os.path.join(source, "dockerfile")
        self.name = os.path.basename(path)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CliError(f"ERROR: failed to solve: failed to read dockerfile: open {self.name}: {reason}") from None
        inside = os.path.relpath(os.path.realpath(path), os.path.realpath(source))
        if inside.startswith(".."):
            return self._with(Context(source, ".dockerfile.outside", data), data, self.name), ""
        return self._with(Context(source, inside, None), data, self.name), ""

    def _with(self, context: Context, data: bytes, name: str) -> Context:
        self.dockerfile = Dockerfile(data.decode("utf-8", "replace"))
        self.name = "Dockerfile" if name == "-" else name
        self._inside = context.dockerfile
        step = self._begin(f"[internal] load build definition from {self.name}")
        self.view.note(step, f"transferring dockerfile: {human_size(len(data))} done")
        self._end()
        return context

    def _query(self, remote: str) -> dict[str, Any]:
        flags = self.flags
        arguments: dict[str, str | None] = {}
        for argument in flags["build-arg"]:
            name, equals, value = argument.partition("=")
            if equals:
                arguments[name] = value
            elif name in os.environ:
                arguments[name] = os.environ[name]
            else:
                arguments[name] = None
        if "SOURCE_DATE_EPOCH" in os.environ:
            arguments.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
        labels = dict(label.partition("=")[::2] for label in flags["label"])
        from wherry.cli.format.gojson import dumps

        return {
            "t": self.wanted.tags or None,
            "dockerfile": self._inside or self.flags["file"] or None,
            "remote": remote or None,
            "buildargs": dumps(arguments) if arguments else None,
            "labels": dumps(labels) if labels else None,
            "cachefrom": dumps(flags["cache-from"]) if flags["cache-from"] else None,
            "ulimits": dumps(flags["ulimit"]) if flags["ulimit"] else None,
            "extrahosts": flags["add-host"] or None,
            "target": flags["target"] or None,
            "platform": flags["platform"] or None,
            "networkmode": flags["network"],
            "nocache": flags["no-cache"] or None,
            "pull": flags["pull"] or None,
            "shmsize": flags["shm-size"] or None,
            "memory": flags["memory"] or None,
            "memswap": flags["memory-swap"] or None,
            "cpushares": flags["cpu-shares"] or None,
            "cpuperiod": flags["cpu-period"] or None,
            "cpuquota": flags["cpu-quota"] or None,
            "cpusetcpus": flags["cpuset-cpus"] or None,
            "cpusetmems": flags["cpuset-mems"] or None,
            "rm": True,
        }

    # What comes back.

    def _message(self, message: dict[str, Any]) -> None:
        if "errorDetail" in message or "error" in message:
            self._fail(message.get("errorDetail") or {"message": message["error"]})
        if "checks" in message:
            self.checks = message["checks"]
        elif "aux" in message:
            self.image = message["aux"].get("ID", self.image)
        elif "stream" in message:
            text = self._rest + message["stream"]
            lines = text.split("\n")
            self._rest = lines.pop()
            for line in lines:
                self._line(line)
        elif message.get("status") and self.step is not None and not message.get("progressDetail"):
            identity = f"{message['id']}: " if message.get("id") else ""
            self.view.note(self.step, f"{identity}{message['status']}")

    def _line(self, line: str) -> None:
        if line.startswith("Step ") and " : " in line:
            self._end()
            title, at = self.dockerfile.find(line.partition(" : ")[2])
            if title:
                self._begin(title, at)
            return
        if line == " ---> Using cache":
            if self.step is not None:
                self.step.cached = True
            return
        if line.startswith((" ---> ", "Successfully built", "Successfully tagged")):
            return
        if line.startswith("[Warning] "):
            self.warnings.append(line.removeprefix("[Warning] "))
            return
        text = line.replace("\x1b[91m", "").replace("\x1b[0m", "")
        if self.step is not None and (text or line == text):
            self.step.output.append(text)
            self.view.line(self.step, text)

    def _finish(self) -> None:
        for destination in self.wanted.destinations:
            step = self._begin(destination.title)
            destination.finish()
            self.view.note(step, f"{destination.note} done")
        if self.wanted.wishes.keep:
            from wherry.cli.docker.image.pull import canonical
            from wherry.cli.docker.references import with_tag

            step = self._begin("exporting to image")
            self.view.note(step, f"writing image {self.image} done")
            for tag in self.wanted.tags:
                self.view.note(step, f"naming to {canonical(with_tag(tag)).removesuffix(':latest')} done")
        self._end()

    def _fail(self, detail: dict[str, Any]) -> None:
        """CliError with the step's output, the place in the Dockerfile, and what went wrong."""
        message = str(detail.get("message", ""))
        step = self.step
        code = detail.get("code")
        if code and step is not None and message.startswith("The command '"):
            process = message.removeprefix("The command '").rpartition("' returned")[0]
            message = f'process "{process}" did not complete successfully: exit code: {code}'
        self._end(message)
        lines: list[str] = []
        if step is not None:
            bar = "-" * 6
            shown = [f"{line}" for line in step.output[-10:]]
            lines += [bar, f" > {step.title}:", *shown, bar]
            if excerpt := self.dockerfile.excerpt(step.line, self.name):
                lines.append(excerpt)
        self.view.close(True)
        raise CliError("\n".join([*lines, f"ERROR: failed to solve: {message}"]))


def _is_archive(data: bytes) -> bool:
    """Whether these bytes are a tar archive, plain or compressed."""
    magic = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
    return data.startswith(magic) or data[257:262] == b"ustar"
