"""`kubectl config`."""

HELP = 'Modify kubeconfig files using subcommands like "kubectl config set current-context my-context".'
USAGE = ""
FLAGS = ()
VERBS = {
    "current-context": ("config_show", "Display the current-context"),
    "delete-cluster": ("config_change", "Delete the specified cluster from the kubeconfig"),
    "delete-context": ("config_change", "Delete the specified context from the kubeconfig"),
    "delete-user": ("config_change", "Delete the specified user from the kubeconfig"),
    "get-clusters": ("config_show", "Display clusters defined in the kubeconfig"),
    "get-contexts": ("config_show", "Describe one or many contexts"),
    "get-users": ("config_show", "Display users defined in the kubeconfig"),
    "rename-context": ("config_change", "Rename a context from the kubeconfig file"),
    "set": ("config_change", "Set an individual value in a kubeconfig file"),
    "set-cluster": ("config_change", "Set a cluster entry in kubeconfig"),
    "set-context": ("config_change", "Set a context entry in kubeconfig"),
    "set-credentials": ("config_change", "Set a user entry in kubeconfig"),
    "unset": ("config_change", "Unset an individual value in a kubeconfig file"),
    "use": ("config_change", "Same as use-context"),
    "use-context": ("config_change", "Set the current-context in a kubeconfig file"),
    "view": ("config_view", "Display merged kubeconfig settings or a specified kubeconfig file"),
}
