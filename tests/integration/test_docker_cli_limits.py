"""Limits, devices, security options and process settings: given on the command line, seen from inside."""

import shutil
from pathlib import Path

import pytest
from docker_client import DockerCli

from wherry.host import cgroups

pytestmark = pytest.mark.root

RUN = ("run", "--rm")

needs_runc = pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
v1 = pytest.mark.skipif(cgroups.detect().version != 1, reason="the files are those of cgroup v1")


async def inside(cli: DockerCli, options: str, script: str) -> list[str]:
    return (await cli(*RUN, *options.split(), "busybox", "sh", "-c", script)).lines


def cat(*names: str) -> str:
    return "cat " + " ".join(f"/sys/fs/cgroup/{name}" for name in names)


@v1
async def test_limits_are_in_the_cgroup(docker_cli: DockerCli) -> None:
    options = (
        "--cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --cpuset-mems 0 -m 64m --memory-swap 64m "
        "--memory-reservation 32m --memory-swappiness 10 --pids-limit 33"
    )
    names = (
        "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpu/cpu.shares", "cpuset/cpuset.cpus", "cpuset/cpuset.mems",
        "memory/memory.limit_in_bytes", "memory/memory.soft_limit_in_bytes", "memory/memory.swappiness",
        "pids/pids.max",
    )  # fmt: skip
    expected = ["50000", "100000", "512", "0", "0", str(64 << 20), str(32 << 20), "10", "33"]
    assert await inside(docker_cli, options, cat(*names)) == expected
    lines = await inside(docker_cli, "--oom-kill-disable -m 64m", cat("memory/memory.oom_control"))
    assert lines[0] == "oom_kill_disable 1"


@v1
async def test_update_reaches_the_cgroup_and_is_kept(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    await docker_cli("update", "--cpus", "0.7", "-m", "64m", "--memory-swap", "128m", "--pids-limit", "44",
                     "--cpu-shares", "100", "--cpuset-cpus", "1", "--restart", "on-failure:2", "web")  # fmt: skip
    names = ("cpu/cpu.cfs_quota_us", "cpu/cpu.shares", "cpuset/cpuset.cpus", "memory/memory.limit_in_bytes",
             "pids/pids.max")  # fmt: skip
    ran = await docker_cli("exec", "web", *cat(*names).split())
    assert ran.lines == ["70000", "100", "1", str(64 << 20), "44"]
    shown = "{{with .HostConfig}}{{.NanoCpus}} {{.PidsLimit}} {{.RestartPolicy.Name}}{{end}}"
    assert (await docker_cli("inspect", "-f", shown, "web")).out == "700000000 44 on-failure\n"
    await docker_cli("update", "--pids-limit", "-1", "web")
    assert (await docker_cli("exec", "web", *cat("pids/pids.max").split())).out == "max\n"


@v1
async def test_block_io_is_throttled_by_device(docker_cli: DockerCli) -> None:
    disk = next(path for path in Path("/sys/block").iterdir() if Path("/dev", path.name).exists())
    number = (disk / "dev").read_text().strip()
    device = f"/dev/{disk.name}"
    options = f"--device-read-bps {device}:1mb --device-write-iops {device}:100"
    names = ("blkio/blkio.throttle.read_bps_device", "blkio/blkio.throttle.write_iops_device")
    assert await inside(docker_cli, options, cat(*names)) == [f"{number} 1048576", f"{number} 100"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-m 1m", "Minimum memory limit allowed is 6MB"),
        ("--cpus 99999", "ange of CPUs is from 0.01 to"),
        ("--cpuset-cpus 9999", "Requested CPUs are not available - requested 9999, available: "),
        ("--device-cgroup-rule x", "invalid device cgroup format"),
        ("--sysctl net.//.kernel.core_pattern=x", "invalid sysctl"),
        ("--cap-add NOPE", 'apability: "CAP_NOPE"'),
        ("--security-opt nope", "nvalid --security-opt"),
        ("--runtime nope", "unknown or invalid runtime name: nope"),
        ("--gpus all", "could not select device driver"),
        ("--storage-opt size=1g", "--storage-opt is not supported"),
        ("--log-driver syslog", "log driver 'syslog' is not supported by this engine"),
        ("--log-opt nope=1", "unknown log opt 'nope' for json-file log driver"),
        ("--log-opt compress=true", "log opt 'compress' is not supported by this engine"),
        ("--tmpfs t", "mount path must be absolute"),
        ("-v /a:/b:zz", "invalid mode: zz"),
        ("-v /tmp:/", "destination can't be '/'"),
        ("--network none --ip 1.2.3.4", "user specified IP address is supported on user defined networks only"),
        ("--restart nope", "unknown policy 'nope'"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(docker_cli: DockerCli, options: str, message: str) -> None:
    ran = await docker_cli("run", *options.split(), "busybox", "true", fails=True)
    assert message in ran.err
    # What fails at the start stays as created, as with Docker; nothing runs.
    assert (await docker_cli("ps", "-q")).out == ""


async def test_devices(docker_cli: DockerCli) -> None:
    lines = await inside(docker_cli, "--device /dev/zero:/dev/mine", "head -c 3 /dev/mine | wc -c")
    assert lines == ["3"]
    disk = next(path.name for path in Path("/sys/block").iterdir() if Path("/dev", path.name).exists())
    device = ("--device", f"/dev/{disk}:/dev/mine:r")
    assert (await docker_cli(*RUN, *device, "busybox", "dd", "if=/dev/mine", "of=/dev/null", "count=1")).out == ""
    # Opened for writing only: nothing could reach the disk even if it were let through.
    ran = await docker_cli(*RUN, *device, "busybox", "sh", "-c", ": >> /dev/mine", fails=True)
    assert "Operation not permitted" in ran.err
    rule = ("--device-cgroup-rule", "c 10:229 rwm")
    assert (await docker_cli(*RUN, *rule, "busybox", "mknod", "/fuse", "c", "10", "229")).err == ""
    ran = await docker_cli(*RUN, "--device", "/dev/nope", "busybox", "true", fails=True)
    assert 'error gathering device information while adding custom device "/dev/nope"' in ran.err


async def test_ulimits_tmpfs_and_a_read_only_root(docker_cli: DockerCli) -> None:
    limits = await inside(docker_cli, "--ulimit nofile=99:100 --ulimit core=0", "ulimit -n; ulimit -Hn; ulimit -c")
    assert limits == ["99", "100", "0"]
    mount = "grep ' /t ' /proc/mounts | cut -d' ' -f4; stat -c '%u %a' /t"
    assert await inside(docker_cli, "--tmpfs /t", mount) == ["rw,nosuid,nodev,noexec,relatime", "0 1777"]
    assert await inside(docker_cli, "--tmpfs /t:exec,size=2m,uid=5,mode=750", mount) == [
        "rw,nosuid,nodev,relatime,size=2048k,mode=750,uid=5",
        "5 750",
    ]
    lines = await inside(docker_cli, "--read-only --tmpfs /tmp", "touch /tmp/x /x /etc/hosts 2>&1; ls /tmp")
    assert lines == ["touch: /x: Read-only file system", "touch: /etc/hosts: Read-only file system", "x"]


async def test_sysctls_reach_their_namespaces(docker_cli: DockerCli) -> None:
    options = "--sysctl net.ipv4.ip_forward=1 --sysctl net.core.somaxconn=77 --sysctl kernel.msgmax=9000"
    files = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax"
    assert await inside(docker_cli, options, files) == ["1", "77", "9000"]
    for name in ("vm.swappiness=1", "net.nope=1", "kernel.nope=1"):
        ran = await docker_cli(*RUN, "--sysctl", name, "busybox", "true", fails=True)
        assert name.partition("=")[0] in ran.err
    ran = await docker_cli(*RUN, "--network", "host", "--sysctl", "net.core.somaxconn=7", "busybox", "true", fails=True)
    assert "not allowed in host network namespace" in ran.err


async def test_capabilities_and_privileges(docker_cli: DockerCli) -> None:
    held = "grep CapEff /proc/self/status | cut -f2"
    assert await inside(docker_cli, "", held) == ["00000000a80425fb"]
    assert await inside(docker_cli, "--cap-drop ALL --cap-add NET_RAW --cap-add CAP_CHOWN", held) == [
        f"{1 << 13 | 1 << 0:016x}"
    ]
    assert await inside(docker_cli, "--cap-add SYS_ADMIN -u 1000", held) == ["0000000000000000"]
    status = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | cut -f2"
    assert await inside(docker_cli, "", status) == ["0", "2"]
    assert await inside(docker_cli, "--security-opt no-new-privileges --security-opt seccomp=unconfined", status) == [
        "1",
        "0",
    ]
    lines = await inside(
        docker_cli, "--privileged", f"{status}; grep ' /sys ' /proc/mounts | cut -d' ' -f4 | cut -c1-2"
    )
    assert lines == ["0", "0", "rw"]
    own = Path("/proc/self/status").read_text().partition("CapBnd:\t")[2][:16]
    assert await inside(docker_cli, "--privileged", held) == [own]


@pytest.mark.parametrize("runtime", ["crun", pytest.param("runc", marks=needs_runc)])
async def test_a_seccomp_profile_of_ones_own(docker_cli: DockerCli, tmp_path: Path, runtime: str) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}'
    )
    options = f"--runtime {runtime} --security-opt seccomp={profile}"
    lines = await inside(docker_cli, options, "mkdir /x 2>&1; chmod 700 /bin && echo changed")
    assert lines == ["mkdir: can't create directory '/x': Operation not permitted", "changed"]


async def test_users_groups_names_and_init(docker_cli: DockerCli) -> None:
    lines = await inside(docker_cli, "-u 1:0 --group-add 55 --group-add root", "id -u; id -g; id -G")
    assert lines == ["1", "0", "0 55"]
    ran = await docker_cli(*RUN, "-u", "nobodyx", "busybox", "id", fails=True)
    assert "unable to find user nobodyx: no matching entries in passwd file" in ran.err
    lines = await inside(docker_cli, "-h foo --domainname ex.com", "hostname -f; grep foo /etc/hosts | cut -f2")
    assert lines == ["foo.ex.com", "foo.ex.com foo"]
    assert await inside(docker_cli, "-h foo.ex.com", "hostname; grep foo /etc/hosts | cut -f2") == [
        "foo.ex.com",
        "foo.ex.com foo",
    ]
    lines = await inside(docker_cli, "--init", "tr '\\0' ' ' < /proc/1/cmdline")
    assert lines[0].startswith("/sbin/docker-init -- sh -c")
    resolver = "--dns 1.2.3.4 --dns-search ex.com --dns-opt ndots:3"
    assert sorted(await inside(docker_cli, resolver, "grep -v '^#' /etc/resolv.conf")) == [
        "nameserver 1.2.3.4",
        "options ndots:3",
        "search ex.com",
    ]


@needs_runc
async def test_runc_end_to_end(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "--runtime", "runc", "-m", "64m", "busybox", "sh", "-c",
                     "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")  # fmt: skip
    assert (await docker_cli("inspect", "-f", "{{.HostConfig.Runtime}}", "web")).out == "runc\n"
    assert (await docker_cli("exec", "web", "sh", "-c", "exit 4", fails=True)).code == 4
    assert (await docker_cli("exec", "-i", "web", "cat", stdin=b"in")).out == "in"
    await docker_cli("update", "-m", "128m", "--memory-swap", "128m", "web")
    await docker_cli("pause", "web")
    await docker_cli("unpause", "web")
    assert '"PIDs"' in (await docker_cli("stats", "--no-stream", "--format", "json", "web")).out
    await docker_cli("stop", "web")
    assert (await docker_cli("wait", "web")).out == "3\n"
    assert (await docker_cli("logs", "web")).out == "up\n"
    await docker_cli("start", "web")
    await docker_cli("rm", "-f", "web")
    ran = await docker_cli(*RUN, "--runtime", "runc", "busybox", "nope", fails=True)
    assert ran.code == 127
    assert 'exec: "nope": executable file not found in $PATH' in ran.err


@pytest.mark.parametrize(("command", "code"), [("nope", 127), ("/nope", 127), ("/etc/passwd", 126), ("/etc", 126)])
async def test_exit_codes_of_what_cannot_be_executed(docker_cli: DockerCli, command: str, code: int) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    ran = await docker_cli(*RUN, "busybox", command, fails=True)
    assert ran.code == code
    assert f'exec: "{command}"' in ran.err
    ran = await docker_cli("exec", "web", command, fails=True)
    assert ran.code == code
    assert f'exec: "{command}"' in ran.out


async def test_exec_as_nobody_known_and_in_no_directory(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    ran = await docker_cli("exec", "-u", "nope", "web", "true", fails=True)
    assert (ran.code, ran.out.strip()) == (126, "unable to find user nope: no matching entries in passwd file")
    ran = await docker_cli("exec", "-w", "/nope", "web", "true", fails=True)
    assert 'chdir to cwd ("/nope") set in config.json failed: no such file or directory' in ran.out
