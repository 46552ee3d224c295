"""Data keys against role claims."""
