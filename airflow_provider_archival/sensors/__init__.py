"""Sensors that watch a job which something else submitted."""
