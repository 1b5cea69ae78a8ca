"""`kubectl top`."""

HELP = "Display resource (CPU/memory) usage."
USAGE = ""
FLAGS = ()
VERBS = {
    "node": ("top_nodes", "Display resource (CPU/memory) usage of nodes"),
    "nodes": ("top_nodes", "Same as node"),
    "no": ("top_nodes", "Same as node"),
    "pod": ("top_pods", "Display resource (CPU/memory) usage of pods"),
    "pods": ("top_pods", "Same as pod"),
    "po": ("top_pods", "Same as pod"),
}
