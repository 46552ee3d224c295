"""The command line: `main.py` is its root, `common.py` what every verb uses, one module per group of verbs."""
