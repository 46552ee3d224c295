"""Pipelines that a push starts."""
