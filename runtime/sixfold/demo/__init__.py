"""`sixfold demo`: the whole system at work once, driven as a user drives it, by commands, git and HTTP.

`place.py` finds a folder for it, `shell.py` runs the commands, `steps.py` is what is shown, `showing.py` how, and
`processes.py` finds and ends what was started.
"""
