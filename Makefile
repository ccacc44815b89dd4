# The commands of the course. `make` alone lists them.
define HELP
make setup       sets up .venv with all that the course needs (make setup TORCH=cpu: without the 5 GB of CUDA, on Linux without an NVIDIA GPU)
make course      opens JupyterLab at nbs/00_start_here.ipynb (ARGS=--no-browser and other options of jupyter lab)
make train       trains the network: mnist_model.pth, predictions.png, training_history.png (ARGS='--epochs 1' and other options of mnist_train)
make test        runs every check, and changes no file
make notebooks   runs all notebooks in full and keeps their outputs (ARGS=03_training: that one alone)
make bench       measures, and writes benchmarks/bench.json and serve.json
make serve       a page to draw on, and an API, at http://127.0.0.1:8000 (ARGS=--no-browser and other options of mnist_serve)
make mutants     puts small faults into the library and says which of them no test sees (ARGS='evaluation --count 10'; two hours, goes on where it was)
make frontend    the React app, in frontend/dist (needs npm); mnist_serve --frontend serves it
make site        the course as a web site, in website/html (needs npm)
make weights     trains the weights that ship with the package again
make clean       removes .venv and the caches; keeps what you have trained (mnist_model.pth, its figures, data/) and your notebooks

Each sets up .venv by itself when it is missing. PYTHON=python3.12 chooses the Python for that.
endef

ifeq ($(OS),Windows_NT)
PYTHON := python
BIN := .venv/Scripts
else
PYTHON := python3
BIN := .venv/bin
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
endif
READY := .venv/ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PYTHONUTF8 := 1

.PHONY: help setup course train test notebooks bench serve mutants frontend site weights clean

help: ; $(info $(HELP)) @:

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "The course needs Python 3.10 or newer: install it, or name one with PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv >/dev/null 2>&1 || virtualenv --quiet --clear --python $(PYTHON) .venv 2>/dev/null || \
	  { rm -rf .venv; echo "This Python cannot make a virtual environment: install it first, on Debian and Ubuntu with: sudo apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null 2>&1 || \
	  { echo ".venv has no pip: remove it with make clean, then try again"; exit 1; }
	@echo "Setting up .venv; once, and it takes some minutes, because PyTorch is large …"
ifeq ($(TORCH),cpu)
	@$(PIP) --index-url https://download.pytorch.org/whl/cpu torch torchvision
endif
	@$(PIP) --editable '.[dev]'
	@touch $@
	@echo "Ready. To use its commands: $(if $(filter Windows_NT,$(OS)),.venv\Scripts\activate,source .venv/bin/activate)"

course: $(READY)
	@$(BIN)/jupyter lab nbs/00_start_here.ipynb $(ALLOW_ROOT) $(ARGS)

train: $(READY)
	@$(BIN)/mnist_train $(ARGS)

test: $(READY)
	@$(BIN)/python tests/run.py

notebooks: $(READY)
	@$(BIN)/python -m tools.run $(ARGS)

bench: $(READY)
	@$(BIN)/python benchmarks/bench.py $(ARGS)
	@$(BIN)/python benchmarks/serve.py
	@$(BIN)/python -m tools.blocks

serve: $(READY)
	@$(BIN)/mnist_serve $(ARGS)

mutants: $(READY)
	@$(PIP) 'cosmic-ray>=8.7,<9'
	@$(BIN)/python -m tools.mutants $(ARGS)

frontend: $(READY)
	@$(BIN)/python -m tools.frontend

site: $(READY)
	@$(BIN)/python -m tools.site.build $(ARGS)

weights: $(READY)
	@$(BIN)/python benchmarks/weights.py $(ARGS)

clean:
	@rm -rf .venv build dist website/html frontend/dist frontend/public frontend/settings.json frontend/node_modules mnist_course.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find mnist_course nbs benchmarks tests tools website -name __pycache__ -prune -exec rm -rf {} +
	@for f in data mnist_model.pth mnist_checkpoint.pth predictions.png training_history.png; do \
	  if test -e $$f; then echo "kept: $$f"; fi; done
