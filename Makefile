PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test slow lint bench docs clean

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	touch $@

demo: $(INSTALLED)  ## Train on embedded digits and plucked strings, and sample both: no data, no GPU, minutes.
	rm -rf demo
	$(BIN)/anytime train --modality image --run demo/image
	$(BIN)/anytime train --modality audio --run demo/audio
	for budget in 0.2 0.6 1.0; do $(BIN)/anytime sample --run demo/image --budget $$budget --num 64 || exit 1; done
	$(BIN)/anytime sample --run demo/audio --num 8 --progressive
	@echo
	@echo "Look at and listen to samples, coarse to fine, and see what each further code buys:"
	@ls demo/*/samples/*/preview.png demo/audio/samples/*/000000-*.wav demo/*/previews/quality.png

test: $(INSTALLED)  ## The quick tests.
	$(BIN)/python -m pytest

slow: $(INSTALLED)  ## The tests that train for minutes or need data.
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)  ## Style, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## Timings against peers.
	$(BIN)/python -m benchmarks.quantizer
	$(BIN)/python -m benchmarks.audio_data
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.plans

docs: $(INSTALLED)  ## Write docs/cli.md from the live command line.
	$(BIN)/typer anytime_cli.main utils docs --name anytime --title "Command line" --output docs/cli.md

clean:
	rm -rf $(VENV) demo build dist
