# One verb a line; `make` alone lists them. Python 3.11+ and make are all that must be there beforehand.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := $(shell sed -n 's/^ *"uv==\([0-9.]*\)".*/\1/p' pyproject.toml)
BIN := .venv/bin
SOURCES := libs services tests tools bench examples
PROJECTS := libs/common libs/tracker libs/stack services/trainer services/streaming services/dashboard
MANIFESTS := $(PROJECTS:%=%/pyproject.toml)
OVERLAY ?= local
WORKERS ?= 2
KILLS ?= 10
export PYTHONUNBUFFERED := 1

.PHONY: help setup demo test faults campaign soak lint pants-check format schema release-schemas release-data generate lock audit \
	images images-test bench \
	k8s-secrets k8s-deploy k8s-check k8s-apply-check k8s-test clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv from the hashed locks (the other verbs do it by themselves)

.venv/.ready: requirements.lock tools.lock Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Wattline needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "wattline: making .venv (about a minute, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --compile-bytecode --require-hashes -r requirements.lock -r tools.lock
	@$(BIN)/python -c 'import pathlib, sys, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "wattline-projects.pth").write_text("".join(f"{pathlib.Path(p).resolve()}\n" for p in sys.argv[1:]))' $(PROJECTS)
	@touch $@

demo: .venv/.ready ## train, measure and show it in a browser, on embedded real servers (ARGS='--help' teaches)
	@exec $(BIN)/python -m wattline_stack.demo $(ARGS)

test: .venv/.ready ## all tests, two files at a time (ARGS='tests/unit' for a part, WORKERS=0 for one by one)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: .venv/.ready ## the crash tests, each fault KILLS times (10; in `make test` 2); WATTLINE_TEST_SEED=7 draws other moments
	@WATTLINE_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder tests/faults $(ARGS)

campaign: .venv/.ready ## the fault campaign: every kind of fault on one line, in a drawn order (ARGS='--help' teaches)
	@$(BIN)/python -m tests.faults $(ARGS)

soak: .venv/.ready ## the campaign for a given time, an hour by default; what grows is measured (ARGS='--minutes 30 --seed 7')
	@$(BIN)/python -m tests.faults --minutes 60 $(ARGS)

lint: .venv/.ready ## ruff, mypy, and that generated code is fresh
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/mypy --python-version 3.10 libs/common libs/tracker
	@$(BIN)/python -m tools.gen_events --check

pants-check: .venv/.ready ## the second gate: boundaries, affected tests, one pex per service (docs/monorepo.md)
	@$(BIN)/python -m tools.pants_check

format: .venv/.ready ## format, and mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

schema: .venv/.ready ## draft a record's next version (RECORD=StepCompleted); schemas/README.md teaches the rest
	@test -n "$(RECORD)" || { echo "name the record, as in: make schema RECORD=StepCompleted" >&2; exit 1; }
	@$(BIN)/python -m tools.schemas draft $(RECORD)

release-schemas: .venv/.ready ## seal the drafted schemas: from then on they never change
	@$(BIN)/python -m tools.schemas release

release-data: .venv/.ready ## keep what this version leaves behind, for the upgrade tests of later ones (tests/releases)
	@$(BIN)/python -m tests.releases

generate: .venv/.ready ## write the generated Python of the schemas
	@$(BIN)/python -m tools.gen_events

lock: .venv/.ready ## resolve the dependencies anew into the hashed locks
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--extra kafka --extra registry --extra store --no-emit-package wattline-common --no-emit-package wattline \
		--group test $(MANIFESTS) -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group lint --group runner -c requirements.lock -o tools.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group images -c requirements.lock -c tools.lock -o images.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group audit -o tools/audit.lock
	@sed -n 's/^pants_version = "\(.*\)"/pantsbuild.pants==\1/p' pants.toml | $(BIN)/uv pip compile --quiet --universal \
		--python-version 3.9 --generate-hashes --no-header --no-annotate - -o tools/pants.lock
	@$(BIN)/uv pip compile --quiet --python-version 3.10 --generate-hashes --no-header --no-annotate --no-emit-package wattline-common \
		libs/tracker/pyproject.toml tests/integration/venvs/huggingface.in -o tests/integration/venvs/huggingface.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-package wattline-common libs/tracker/pyproject.toml tests/integration/venvs/mlflow.in \
		-o tests/integration/venvs/mlflow.lock

audit: .venv/.ready ## ask which locked dependency has a known vulnerability; 3: the database could not be asked
	@$(BIN)/python -m tools.audit $(ARGS)

images: .venv/.ready ## build the container images with docker or buildah (ONLY=streaming BASE_IMAGE=... PUSH=registry/folder)
	@$(BIN)/python -m tools.images $(ONLY:%=--only %) $(BASE_IMAGE:%=--base-image %) $(PUSH:%=--push %) \
		$(SSL_CERT_FILE:%=--ca-bundle %) $(WATTLINE_JAR_REPOSITORY:%=--jar-repository %) $(ARGS)

images-test: .venv/.ready ## run each image as a cluster would: read-only, by number, probed, stopped
	@WATTLINE_REQUIRE=images $(BIN)/python -m pytest tests/k8s/test_images.py $(ARGS)

bench: .venv/.ready ## Wattline beside a plain loop and Quix Streams, on this machine (ARGS='--help' teaches)
	@exec $(BIN)/python -m bench $(ARGS)

k8s-secrets: ## draw the secrets of an overlay at random, once (OVERLAY=cluster; default local)
	@$(PYTHON) -m tools.k8s_secrets $(OVERLAY)

k8s-deploy: k8s-secrets ## apply an overlay to kubectl's current cluster and wait until it is ready (OVERLAY=cluster)
	@kubectl apply -k k8s/namespace
	@kubectl apply -k k8s/overlays/$(OVERLAY)
	@kubectl -n wattline get statefulset,deployment -l app.kubernetes.io/part-of=wattline -o name | xargs -n 1 kubectl -n wattline rollout status --timeout=10m

k8s-check: .venv/.ready ## render every overlay with every component, and check it; needs kubectl or kustomize, no cluster
	@$(BIN)/python -m pytest tests/k8s --ignore=tests/k8s/live --ignore=tests/k8s/test_apply.py --ignore=tests/k8s/test_images.py $(ARGS)

k8s-apply-check: .venv/.ready ## apply all of it to the API server that WATTLINE_TEST_KUBECONFIG names, in namespaces of its own
	@$(BIN)/python -m pytest tests/k8s/test_apply.py $(ARGS)

k8s-test: .venv/.ready ## run the local overlay on the cluster that WATTLINE_TEST_KUBECONFIG names, through failures (k8s/README.md)
	@$(BIN)/python -m pytest tests/k8s/live $(ARGS)

clean: ## remove .venv and what tools cached here (the data folder stays)
	@rm -rf .venv .pants.d .pids dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
