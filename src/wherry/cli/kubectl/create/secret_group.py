"""`kubectl create secret`."""

HELP = "Create a secret with specified type."
USAGE = ""
FLAGS = ()
VERBS = {
    "docker-registry": ("create.secrets", "Create a secret for use with a Docker registry"),
    "generic": ("create.secrets", "Create a secret from a local file, directory, or literal value"),
    "tls": ("create.secrets", "Create a TLS secret"),
}
