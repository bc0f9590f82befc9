# Every target does its own set-up: see scripts/setup.sh.
PY := .venv/bin/python

.PHONY: help demo demo-gui test lint format screenshots clean

help:
	@echo "make demo         segment a real image from a few strokes, in the terminal"
	@echo "make demo-gui     open the same in napari"
	@echo "make test         lint, type checks and all tests"
	@echo "make lint         lint and type checks only"
	@echo "make format       bring the code into the project's format"
	@echo "make screenshots  take the pictures of the window again"
	@echo "make clean        remove the virtual environment, caches and what the demo wrote"

demo:
	@scripts/setup.sh run
	.venv/bin/napari-unet demo

demo-gui:
	@scripts/setup.sh gui
	.venv/bin/napari-unet demo --gui

lint:
	@scripts/setup.sh test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/npe2 validate napari.yaml

# One by one what drives the window or measures times, then two at a time all others, also where one of these failed.
test: lint
	LIBGL_ALWAYS_SOFTWARE=1 $(PY) -m pytest -m "window or timed"; alone=$$?; \
	LIBGL_ALWAYS_SOFTWARE=1 $(PY) -m pytest -m "not window and not timed" -n 2 --dist worksteal && exit $$alone

format:
	@scripts/setup.sh test
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

screenshots:
	@scripts/setup.sh test
	$(PY) scripts/screenshots.py

clean:
	rm -rf .venv build dist demo-output .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
