"""`kubectl set`."""

HELP = "Configure application resources."
USAGE = ""
FLAGS = ()
VERBS = {
    "env": ("set_env", "Update environment variables on a pod template"),
    "image": ("set_image", "Update the image of a pod template"),
    "resources": ("set_resources", "Update resource requests/limits on objects with pod templates"),
    "selector": ("set_selector", "Set the selector on a resource"),
    "serviceaccount": ("set_account", "Update the service account of a resource"),
    "sa": ("set_account", "Short for serviceaccount"),
}
