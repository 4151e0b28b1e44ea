# The house's front door. Everything happens in .venv; `make help` lists the targets.
.POSIX:

# make setup PYTHON=/path/to/python3.12 chooses the Python that .venv is made with.
VENV = .venv
RUN = $(VENV)/bin/python -m
INSTALLED = $(VENV)/.installed

DEMO_ENV = Craftax-Classic-Symbolic-v1
DEMO_NODES = 6
DEMO_PATH = exp/demo/
# The playbook's operators are right; holding them against trajectories would take two minutes more.
DEMO_ARGS = --no-refine

TEST_WORKERS = 2
TEST_ARGS =

.PHONY: help setup demo test check format clean

help:
	@echo 'make setup   make .venv and install flowrl into it'
	@echo 'make demo    learn a small skill graph in Craftax-Classic, without any key, into $(DEMO_PATH)'
	@echo 'make test    run all tests'
	@echo 'make check   format, lint, types and layers, as CI does'
	@echo 'make format  put the code into the one format'
	@echo 'make clean   remove .venv and caches; what was learned under exp/ stays'

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt scripts/setup.sh
	@PYTHON='$(PYTHON)' sh scripts/setup.sh
	@touch $(INSTALLED)

demo: $(INSTALLED)
	$(RUN) flowrl.bottomup --env_name $(DEMO_ENV) --llm_name playbook --max_nodes $(DEMO_NODES) \
		--graph-path $(DEMO_PATH) --no-use_wandb $(DEMO_ARGS)

test: $(INSTALLED)
	$(RUN) pytest -n $(TEST_WORKERS) --dist loadgroup $(TEST_ARGS)

check: $(INSTALLED)
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports

format: $(INSTALLED)
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
