"""Readers: feeders from files of other programs, one module or package per format."""
