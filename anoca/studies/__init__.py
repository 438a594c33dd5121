"""Studies: one file each, `Scenario -> table`; see `compare`, `sweep`, `reproduce`."""
