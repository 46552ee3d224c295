"""A schema registry as a client sees it, Confluent's or the gateway's own: resolving ids, registering what is written.

`settings.py` says which one, `client.py` speaks its API, `schemas.py` is what a process does with it, `registering.py`
plans and carries out `sixfold schema register`.
"""
