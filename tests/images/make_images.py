"""Base images for the tests, made from Debian packages: no registry can be assumed.

    make_images.py [NAME ...]     makes what is missing and prints the path of each archive

`busybox` is Debian's busybox-static with its applets as links; `debian` is a minimal Debian 12 with the
machine's CA certificates. Each is an archive that `docker load` and `ImageStore.load` read, kept in
$WHERRY_TEST_CACHE (default ~/.cache/wherry-test-images) between runs.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "2024-01-01T00:00:00Z"
EPOCH = 1704067200
APT_CLEAN = """\
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
"""Downloaded packages do not stay in the image, as in the public Debian image."""
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def cache_directory() -> Path:
    given = os.environ.get("WHERRY_TEST_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "wherry-test-images"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One maker at a time, also across processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_archive(target: Path, layer: Path, tags: list[str], config: dict[str, Any]) -> None:
    """A Docker archive with one layer, complete or not there at all."""
    digest = hashlib.sha256()
    with open(layer, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    document = json.dumps(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
            "history": [{"created": CREATED, "created_by": "make_images.py"}],
        }
    ).encode()
    config_name = f"blobs/sha256/{hashlib.sha256(document).hexdigest()}"
    layer_name = f"blobs/sha256/{digest.hexdigest()}"
    manifest = json.dumps([{"Config": config_name, "RepoTags": tags, "Layers": [layer_name]}]).encode()
    temporary = target.with_suffix(".tmp")
    with tarfile.open(temporary, "w") as archive:
        archive.add(layer, layer_name, filter=_anonymous)
        for name, data in ((config_name, document), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    os.replace(temporary, target)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def make_busybox(target: Path) -> None:
    """busybox:latest: one static binary, an applet link for each of its commands."""
    binary = Path("/bin/busybox")
    if not binary.exists():
        binary = Path(shutil.which("busybox") or "busybox")
    applets = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        layer = Path(work) / "layer.tar"
        with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, mode in (
                ("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o755), ("root", 0o700),
                ("sys", 0o755), ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("var", 0o755),
                ("var/spool", 0o755), ("var/spool/mail", 0o755), ("var/www", 0o755),
            ):  # fmt: skip
                _add(archive, name, tarfile.DIRTYPE, mode)
            _add(archive, "bin/busybox", tarfile.REGTYPE, 0o755, binary.read_bytes())
            for applet in sorted(set(applets) - {"busybox"}):
                _add(archive, f"bin/{applet}", tarfile.LNKTYPE, 0o755, link="bin/busybox")
            _add(archive, "usr/bin/env", tarfile.LNKTYPE, 0o755, link="bin/busybox")
            for name, text in (
                ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n"
                               "nobody:x:65534:65534:nobody:/home:/bin/false\n"),
                ("etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"),
                ("etc/shadow", "root:*:::::::\nnobody:*:::::::\n"),
            ):  # fmt: skip
                _add(archive, name, tarfile.REGTYPE, 0o644, text.encode())
        write_archive(target, layer, ["busybox:latest"], {"Env": [PATH_ENV], "Cmd": ["sh"]})


def _add(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname, member.mtime = kind, mode, len(data), link, EPOCH
    archive.addfile(member, io.BytesIO(data))


def extra_authorities(directory: Path) -> None:
    """The certificates that this machine trusts beyond Debian's own, one file each.

    `update-ca-certificates` inside the image keeps what lies in /usr/local/share/ca-certificates.
    """
    packaged = {path.read_text().strip() for path in Path("/usr/share/ca-certificates").rglob("*.crt")}
    marker = "-----END CERTIFICATE-----"
    for number, text in enumerate(CA_BUNDLE.read_text().split(marker)):
        certificate = (text[text.find("-----BEGIN") :] + marker).strip()
        if text.strip() and certificate not in packaged:
            (directory / f"machine-{number}.crt").write_text(certificate + "\n")


def make_debian(target: Path) -> None:
    """debian:bookworm-slim and debian:latest: Debian 12 by mmdebstrap, with this machine's sources and CAs."""
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        layer = Path(work) / "layer.tar"
        authorities = Path(work) / "authorities"
        authorities.mkdir()
        extra_authorities(authorities)
        clean = Path(work) / "docker-clean"
        clean.write_text(APT_CLEAN)
        clean.chmod(0o644)
        hooks = [
            'mkdir -p "$1/etc/ssl/certs" "$1/usr/local/share/ca-certificates"',
            f'find {authorities} -name "*.crt" -exec cp {{}} "$1/usr/local/share/ca-certificates/" ";"',
            f'cp {CA_BUNDLE} "$1/etc/ssl/certs/ca-certificates.crt"',
            f'cp {clean} "$1/etc/apt/apt.conf.d/docker-clean"',
            'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log',
            'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"',
        ]
        command = [
            "mmdebstrap", "--variant=minbase", "--quiet",
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--aptopt=APT::Install-Recommends \"false\"",
            *(f"--customize-hook={hook}" for hook in hooks), "bookworm", str(layer),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})
        write_archive(
            target, layer, ["debian:latest", "debian:bookworm-slim", "debian:12-slim"],
            {"Env": [PATH_ENV], "Cmd": ["bash"]},
        )  # fmt: skip


MAKERS: dict[str, Callable[[Path], None]] = {"busybox": make_busybox, "debian": make_debian}


def make(name: str) -> Path:
    """The archive of image `name`, made now if it is not in the cache."""
    cache = cache_directory()
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    target = cache / f"{name}-{recipe}.tar"
    with locked(cache / f"{name}.lock"):
        if not target.exists():
            MAKERS[name](target)
            for old in cache.glob(f"{name}*.tar"):
                if old != target:
                    old.unlink()
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["busybox"], choices=list(MAKERS))
    for name in parser.parse_args().names:
        print(make(name))


if __name__ == "__main__":
    main()
