"""The engine: containers, execs, volumes and networks over images. Start at `engine.Engine`."""
