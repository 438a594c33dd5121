"""What the benchmarks of `anoca.studies.bench` share: cases, methods, rounds, tables."""
