"""Side-by-side tables, each with the command that makes it; results are committed in benchmarks/results/."""
