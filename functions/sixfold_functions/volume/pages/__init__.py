"""Volumes of pages: page records become pages in each copy, and are read at a read point."""
