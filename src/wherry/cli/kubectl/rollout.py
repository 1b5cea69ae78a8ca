"""`kubectl rollout`."""

HELP = "Manage the rollout of one or many resources: deployments, daemon sets, stateful sets."
USAGE = ""
FLAGS = ()
VERBS = {
    "history": ("rollout_history", "View rollout history"),
    "pause": ("rollout_change", "Mark the provided resource as paused"),
    "restart": ("rollout_change", "Restart a resource"),
    "resume": ("rollout_change", "Resume a paused resource"),
    "status": ("rollout_status", "Show the status of the rollout"),
    "undo": ("rollout_undo", "Undo a previous rollout"),
}
