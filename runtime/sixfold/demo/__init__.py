"""`sixfold demo`: the whole system at work once, driven as a user drives it, by commands, git and HTTP.

`shell.py` runs the commands, `steps.py` is what is shown, `command.py` puts it on the terminal.
"""
