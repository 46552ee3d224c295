"""Side-by-side measurements. `python -m bench` runs all of them; the last line is one JSON object."""
