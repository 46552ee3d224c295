"""A volume of six copies with a write quorum of four."""
