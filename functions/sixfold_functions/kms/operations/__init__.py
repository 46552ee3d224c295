"""AWS KMS's operations, each a pure function from a call to its outcome, by subject."""
