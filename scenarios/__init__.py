"""Scenarios that come with the package: TOML files and one commented sweep script."""
