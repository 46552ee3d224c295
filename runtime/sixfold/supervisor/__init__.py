"""The supervisor: the whole system as one process tree.

`plan.py` says which processes there are, `restart.py` what becomes of one that ended, `child.py` runs one,
`system.py` runs all, `control.py` is how other processes talk to it.
"""
