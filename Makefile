# `make help` explains itself from the comments behind the targets.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup lint test test-scale docs notebooks report lab train bench requirements clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

setup: $(INSTALLED) ## create .venv with everything that is pinned in requirements.txt

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else "Python 3.11 to 3.13 is needed; this is %d.%d. Try: make PYTHON=python3.12" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $(INSTALLED)

lint: setup ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint ## run every check: style, tests, notebooks, fresh figures and numbers
	$(BIN)/python -m pytest -q -n 2 --dist loadfile
	rm -rf build/redrawn
	FER_KERAS_FIGURES=build/redrawn $(BIN)/python -m pytest -q -n 2 --dist loadscope --nbval-lax --nbval-sanitize-with tests/nbval.cfg notebooks
	$(BIN)/python reports/build.py --check --redrawn build/redrawn

test-scale: setup ## install Ray and JAX too, and check what runs on them
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-scale.txt
	$(BIN)/python -m pytest -q tests/scale

docs: setup ## build the documentation's site in build/site, and fail on a dead link
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	rm -rf build/site build/site-source && mkdir -p build/site-source
	cp -r README.md CONTRIBUTING.md CHANGELOG.md LICENSE benchmarks docs notebooks reports build/site-source
	sed -i.bak 's/(\([0-9a-z_]*\)\.ipynb/(\1.html/g' build/site-source/notebooks/*.ipynb && rm build/site-source/notebooks/*.bak
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: setup ## execute every notebook (with FER_KERAS_DATA: in full, over the committed ones)
	$(BIN)/python reports/build.py --notebooks-only

report: setup ## execute the notebooks, redraw the figures, fill README's tables, write reports/report.md and report.html
	$(BIN)/python reports/build.py

lab: setup ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

train: setup ## train a recipe: make train RECIPE=mini-xception
	$(BIN)/python -m fer_keras train $(RECIPE)

bench: setup ## measure what the project calls fast, as ratios
	for each in training loading features recognition_speed video detection; do $(BIN)/python benchmarks/$$each.py || exit 1; done

requirements: setup ## resolve requirements.txt anew from the ranges in pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	{ head -n 2 requirements.txt; $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
		--extra all --extra test --no-header --no-annotate pyproject.toml; } > requirements.new
	mv requirements.new requirements.txt
	grep == requirements.txt > pins.new
	{ head -n 2 requirements-scale.txt; $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
		--constraint pins.new --extra ray --no-header --no-annotate pyproject.toml | grep -vxFf pins.new; } > requirements.new
	mv requirements.new requirements-scale.txt
	{ head -n 2 requirements-docs.txt; $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
		--constraint pins.new --extra docs --no-header --no-annotate pyproject.toml | grep -vxFf pins.new; } > requirements.new
	mv requirements.new requirements-docs.txt && rm pins.new

clean: ## remove what can be made again (not .venv, not the records)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis reports/report.html
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
