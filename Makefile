PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

LOWEST := .venv-lowest
LOWEST_EXTRAS := dev dnsmos efficientnet inception speaker speech webdataset
LOWEST_TESTS := packaging plugins cli audio_cli audio_files audio_plugin image_plugin extractors

.PHONY: demo test slow lint lowest dist audit bench docs clean

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

test: $(INSTALLED)  ## The quick tests, on two cores; a file's tests stay together, as they share what is slow to make.
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: $(INSTALLED)  ## The tests that train for minutes or need data.
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

lint: $(INSTALLED)  ## Style, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lowest:  ## Some quick tests with the lowest versions that pyproject.toml allows, in an environment of their own.
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade uv
	$(LOWEST)/bin/uv pip compile --quiet --python $(LOWEST) --resolution lowest-direct --upgrade \
		$(LOWEST_EXTRAS:%=--extra %) pyproject.toml --output-file $(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv pip sync --quiet --python $(LOWEST) $(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --no-deps --editable .
	$(LOWEST)/bin/python -m pytest $(LOWEST_TESTS:%=tests/test_%.py)

dist: $(INSTALLED)  ## Build sdist and wheel, install each into a clean environment, and try it outside of the checkout.
	rm -rf dist
	$(BIN)/python -m build
	set -e; for package in $(CURDIR)/dist/*.tar.gz $(CURDIR)/dist/*.whl; do \
		work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
		$(PYTHON) -m venv "$$work/venv"; \
		"$$work/venv/bin/python" -m pip install --quiet "$$package"; \
		(cd "$$work"; PATH="$$work/venv/bin:$$PATH"; unset PYTHONPATH; set -x; \
			anytime --version; anytime doctor; anytime recipes list; anytime plugins list --check; \
			for modality in image audio; do \
				anytime train --modality $$modality --run $$modality \
					--set training.autoencoder.steps=2 --set training.prior.steps=2; \
				anytime sample --run $$modality --num 4; \
			done); \
		rm -rf "$$work"; \
	done

# Its own environment, as pip-audit's dependencies are none of ours. Without --strict, what it cannot look up passes.
audit: $(INSTALLED)  ## Look up known vulnerabilities of what is installed; needs PyPI's JSON API.
	test -x build/audit/bin/python || $(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --upgrade pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > build/audit/installed.txt
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement build/audit/installed.txt

bench: $(INSTALLED)  ## Timings against peers.
	$(BIN)/python -m benchmarks.quantizer
	$(BIN)/python -m benchmarks.audio_data
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.plans

docs: $(INSTALLED)  ## Write docs/cli.md from the live command line.
	$(BIN)/typer anytime_cli.main utils docs --name anytime --title "Command line" --output docs/cli.md

clean:
	rm -rf $(VENV) $(LOWEST) demo build dist
