"""Clients of the peers as Python programs have them; each runs in an environment of its own and imports no Sixfold."""
