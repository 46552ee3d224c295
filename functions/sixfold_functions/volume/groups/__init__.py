"""Volumes that are spread over several protection groups: their plan, writer, replicas and readers."""
