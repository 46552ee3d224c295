"""Git repositories over smart HTTP."""
