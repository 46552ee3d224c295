"""Backups of a volume: continuous and incremental, to a folder or an object store; restoring, cloning, verifying.

`store` is the port to the object store, `objects` an object's bytes, `archive` one volume's backup; `service` keeps it
up to date, `restoring` makes a new volume of it, `base` reads a clone's past from it, `verifying` checks it. What is decided is decided in
`core/backup.py` and `core/restore.py`.
"""
