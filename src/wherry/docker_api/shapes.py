"""Shapes (see `body`) of the Docker Engine API's request bodies, as its version 1.50 defines them."""

from wherry.docker_api.body import ANY, STRINGS, Map

_STRING_MAP = Map(str)
_DEVICE_RATES = [{"Path": str, "Rate": int}]
_WEIGHT_DEVICES = [{"Path": str, "Weight": int}]

HEALTHCHECK = {
    "Test": [str],
    "Interval": int,
    "Timeout": int,
    "StartPeriod": int,
    "StartInterval": int,
    "Retries": int,
}

CONFIG = {
    "Hostname": str,
    "Domainname": str,
    "User": str,
    "AttachStdin": bool,
    "AttachStdout": bool,
    "AttachStderr": bool,
    "ExposedPorts": Map(ANY),
    "Tty": bool,
    "OpenStdin": bool,
    "StdinOnce": bool,
    "Env": [str],
    "Cmd": STRINGS,
    "Healthcheck": HEALTHCHECK,
    "ArgsEscaped": bool,
    "Image": str,
    "Volumes": Map(ANY),
    "WorkingDir": str,
    "Entrypoint": STRINGS,
    "NetworkDisabled": bool,
    "MacAddress": str,
    "OnBuild": [str],
    "Labels": _STRING_MAP,
    "StopSignal": str,
    "StopTimeout": int,
    "Shell": STRINGS,
}

RESOURCES = {
    "CpuShares": int,
    "Memory": int,
    "CgroupParent": str,
    "BlkioWeight": int,
    "BlkioWeightDevice": _WEIGHT_DEVICES,
    "BlkioDeviceReadBps": _DEVICE_RATES,
    "BlkioDeviceWriteBps": _DEVICE_RATES,
    "BlkioDeviceReadIOps": _DEVICE_RATES,
    "BlkioDeviceWriteIOps": _DEVICE_RATES,
    "CpuPeriod": int,
    "CpuQuota": int,
    "CpuRealtimePeriod": int,
    "CpuRealtimeRuntime": int,
    "CpusetCpus": str,
    "CpusetMems": str,
    "Devices": [{"PathOnHost": str, "PathInContainer": str, "CgroupPermissions": str}],
    "DeviceCgroupRules": [str],
    "DeviceRequests": [
        {"Driver": str, "Count": int, "DeviceIDs": [str], "Capabilities": [[str]], "Options": _STRING_MAP}
    ],
    "KernelMemory": int,
    "KernelMemoryTCP": int,
    "MemoryReservation": int,
    "MemorySwap": int,
    "MemorySwappiness": int,
    "NanoCpus": int,
    "OomKillDisable": bool,
    "PidsLimit": int,
    "Ulimits": [{"Name": str, "Hard": int, "Soft": int}],
    "CpuCount": int,
    "CpuPercent": int,
    "IOMaximumIOps": int,
    "IOMaximumBandwidth": int,
}

RESTART_POLICY = {"Name": str, "MaximumRetryCount": int}

MOUNT = {
    "Type": str,
    "Source": str,
    "Target": str,
    "ReadOnly": bool,
    "Consistency": str,
    "BindOptions": {
        "Propagation": str,
        "NonRecursive": bool,
        "CreateMountpoint": bool,
        "ReadOnlyNonRecursive": bool,
        "ReadOnlyForceRecursive": bool,
    },
    "VolumeOptions": {
        "NoCopy": bool,
        "Labels": _STRING_MAP,
        "Subpath": str,
        "DriverConfig": {"Name": str, "Options": _STRING_MAP},
    },
    "ImageOptions": {"Subpath": str},
    "TmpfsOptions": {"SizeBytes": int, "Mode": int, "Options": [[str]]},
    "ClusterOptions": ANY,
}

HOST_CONFIG = {
    **RESOURCES,
    "Binds": [str],
    "ContainerIDFile": str,
    "LogConfig": {"Type": str, "Config": _STRING_MAP},
    "NetworkMode": str,
    "PortBindings": Map([{"HostIp": str, "HostPort": str}]),
    "RestartPolicy": RESTART_POLICY,
    "AutoRemove": bool,
    "VolumeDriver": str,
    "VolumesFrom": [str],
    "Mounts": [MOUNT],
    "ConsoleSize": [int],
    "Annotations": _STRING_MAP,
    "CapAdd": STRINGS,
    "CapDrop": STRINGS,
    "CgroupnsMode": str,
    "Cgroup": str,
    "Dns": [str],
    "DnsOptions": [str],
    "DnsSearch": [str],
    "ExtraHosts": [str],
    "GroupAdd": [str],
    "IpcMode": str,
    "Links": [str],
    "OomScoreAdj": int,
    "PidMode": str,
    "Privileged": bool,
    "PublishAllPorts": bool,
    "ReadonlyRootfs": bool,
    "SecurityOpt": [str],
    "StorageOpt": _STRING_MAP,
    "Tmpfs": _STRING_MAP,
    "UTSMode": str,
    "UsernsMode": str,
    "ShmSize": int,
    "Sysctls": _STRING_MAP,
    "Runtime": str,
    "Isolation": str,
    "MaskedPaths": [str],
    "ReadonlyPaths": [str],
    "Init": bool,
}

ENDPOINT = {
    "IPAMConfig": {"IPv4Address": str, "IPv6Address": str, "LinkLocalIPs": [str]},
    "Links": [str],
    "Aliases": [str],
    "MacAddress": str,
    "DriverOpts": _STRING_MAP,
    "GwPriority": int,
    "NetworkID": str,
    "EndpointID": str,
    "Gateway": str,
    "IPAddress": str,
    "IPPrefixLen": int,
    "IPv6Gateway": str,
    "GlobalIPv6Address": str,
    "GlobalIPv6PrefixLen": int,
    "DNSNames": [str],
}

CREATE = {
    **CONFIG,
    "HostConfig": HOST_CONFIG,
    "NetworkingConfig": {"EndpointsConfig": Map(ENDPOINT)},
    # docker-py's place for it, see `compat`.
    "Runtime": str,
}

UPDATE = {**RESOURCES, "RestartPolicy": RESTART_POLICY}

EXEC_CREATE = {
    "User": str,
    "Privileged": bool,
    "Tty": bool,
    "ConsoleSize": [int],
    "AttachStdin": bool,
    "AttachStderr": bool,
    "AttachStdout": bool,
    "Detach": bool,
    "DetachKeys": str,
    "Env": [str],
    "WorkingDir": str,
    "Cmd": STRINGS,
}

EXEC_START = {"Detach": bool, "Tty": bool, "ConsoleSize": [int]}

NETWORK_CREATE = {
    "Name": str,
    "CheckDuplicate": bool,
    "Driver": str,
    "Scope": str,
    "Internal": bool,
    "Attachable": bool,
    "Ingress": bool,
    "ConfigOnly": bool,
    "ConfigFrom": {"Network": str},
    "IPAM": {
        "Driver": str,
        "Config": [{"Subnet": str, "IPRange": str, "Gateway": str, "AuxiliaryAddresses": _STRING_MAP}],
        "Options": _STRING_MAP,
    },
    "EnableIPv4": bool,
    "EnableIPv6": bool,
    "Options": _STRING_MAP,
    "Labels": _STRING_MAP,
}

NETWORK_CONNECT = {"Container": str, "EndpointConfig": ENDPOINT}
NETWORK_DISCONNECT = {"Container": str, "Force": bool}

VOLUME_CREATE = {
    "Name": str,
    "Driver": str,
    "DriverOpts": _STRING_MAP,
    "Labels": _STRING_MAP,
    "ClusterVolumeSpec": ANY,
}

AUTH = {
    "username": str,
    "password": str,
    "auth": str,
    "email": str,
    "serveraddress": str,
    "identitytoken": str,
    "registrytoken": str,
}
