"""Waiting without a worker: triggers that watch one job each."""
