# Two commands: `make demo` and `make test`. Each makes .venv from the lock when it has to.
PYTHON ?= python3
LOCK := deploy/requirements-dev.txt
VENV := .venv/.ready

.PHONY: demo test lock

# Else each process that is started compiles what it imports, of ours and of its packages: 1.3 s of 2.
export PYTHONDONTWRITEBYTECODE :=

demo: $(VENV)
	.venv/bin/mergeline demo

test: $(VENV)
	.venv/bin/python -m pytest tests --numprocesses 2 --dist loadfile

$(VENV): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' \
	  || { echo "mergeline needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-compile --require-hashes -r $(LOCK)
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Needs uv: brings both locks in line with pyproject.toml, for Python 3.11 to 3.13 on every platform. A version that is
# locked stays while it fits: `make lock UPGRADE=--upgrade` takes the newest of each.
UPGRADE :=
lock:
	uv pip compile -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url pyproject.toml -o deploy/requirements.txt
	uv pip compile -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev pyproject.toml -o $(LOCK)
