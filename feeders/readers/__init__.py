"""Readers: one file per format, `path -> Feeder`."""
