"""Encryption at rest: a copy's segments under file keys, those under data keys of the key service."""
