"""Deployments to instances by their agents."""
