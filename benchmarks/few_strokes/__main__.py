"""`python -m benchmarks.few_strokes`."""

from benchmarks.few_strokes.race import main

main()
