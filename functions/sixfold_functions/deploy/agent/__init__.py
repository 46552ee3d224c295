"""The agent: a small process on the instance that gets signed commands by long poll and carries deployments out.

It imports neither a bus nor a database, holds its own credential and the system's public key, and nothing else.
"""
