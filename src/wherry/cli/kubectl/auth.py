"""`kubectl auth`."""

HELP = "Inspect authorization."
USAGE = ""
FLAGS = ()
VERBS = {
    "can-i": ("auth_can_i", "Check whether an action is allowed"),
    "whoami": ("auth_whoami", "Check self subject attributes"),
}
