"""The default plugins, one per file, in the order in which their filters are asked."""

from collections.abc import Callable, Iterable

from wherry.client.informer import Informers
from wherry.scheduler.framework import Plugin
from wherry.scheduler.plugins.image_locality import ImageLocality
from wherry.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from wherry.scheduler.plugins.node_affinity import NodeAffinity
from wherry.scheduler.plugins.node_name import NodeName
from wherry.scheduler.plugins.node_ports import NodePorts
from wherry.scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from wherry.scheduler.plugins.node_resources_fit import NodeResourcesFit
from wherry.scheduler.plugins.node_unschedulable import NodeUnschedulable
from wherry.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from wherry.scheduler.plugins.pod_topology_spread import GroupSelector, PodTopologySpread
from wherry.scheduler.plugins.taint_toleration import TaintToleration
from wherry.scheduler.plugins.volume_binding import VolumeBinding
from wherry.scheduler.plugins.volume_restrictions import VolumeRestrictions
from wherry.scheduler.plugins.volume_zone import VolumeZone


def default_plugins(
    informers: Informers, group_of: GroupSelector, namespaces: Callable[[], Iterable[str]]
) -> list[Plugin]:
    """A fresh set: plugins keep caches and are not shared between profiles."""
    taints = TaintToleration()
    return [
        NodeUnschedulable(),
        NodeName(),
        taints,
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        VolumeRestrictions(informers),
        NodeVolumeLimits(informers),
        VolumeBinding(informers),
        VolumeZone(informers),
        PodTopologySpread(taints, group_of),
        InterPodAffinity(namespaces),
        NodeResourcesBalancedAllocation(),
        ImageLocality(),
    ]
