"""`kubectl create service`."""

HELP = "Create a service using a specified subcommand."
USAGE = ""
FLAGS = ()
VERBS = {
    "clusterip": ("create.services", "Create a ClusterIP service"),
    "externalname": ("create.services", "Create an ExternalName service"),
    "loadbalancer": ("create.services", "Create a LoadBalancer service"),
    "nodeport": ("create.services", "Create a NodePort service"),
}
