"""The docker command: Docker 28's commands over the Docker Engine API. See README.md."""
