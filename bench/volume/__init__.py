"""The quorum volume beside its peers, in one run. `python -m bench.volume`; the last line is one JSON object."""
