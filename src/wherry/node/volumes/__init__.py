"""Volumes of pods: made ready before containers start, refreshed while they run, released afterwards."""
