"""The capabilities of Sixfold, each a folder; they meet as events."""
