"""Issuers, roles and short-lived session credentials."""
