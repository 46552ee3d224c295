"""The peers, each a script for a Python environment of its own: they import no Sixfold, only what `job` and `tally` say."""
