# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# `make` lists the targets. Everything made here lies in .venv and .cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv images demo demo-dsn demo-status demo-down test test-slow check bench-site clean

COLLECTIONS := $(CURDIR)/.cache/collections
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export ANSIBLE_FORKS ?= 8
export ANSIBLE_NOCOWS := 1
export PYTHONDONTWRITEBYTECODE := 1

LAB := python tests/lab/lab.py
DEMO := examples/demo/inventory.yml
PLAYBOOK := ansible-playbook -i $(DEMO) -i .cache/lab/demo/hosts.yml
SAY = @printf '\n== %s\n' >&2

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

venv: ## the tools, in .venv
	@tests/tools/venv .venv requirements-dev.txt requirements.txt
	@mkdir -p $(COLLECTIONS)/ansible_collections/pgherd
	@ln -sfn $(CURDIR) $(COLLECTIONS)/ansible_collections/pgherd/cluster

images: venv ## base images of the test hosts
	@$(LAB) images

demo: venv ## eight hosts on this machine with a running cluster, and the line to connect with
	$(SAY) 'Hosts'
	@$(LAB) up demo --inventory $(DEMO) --subnet 172.30.80.0/24
	$(SAY) 'Site playbook'
	@$(PLAYBOOK) pgherd.cluster.site
	$(SAY) 'Data, through pgpool'
	@python tests/lab/load_demo.py
	$(SAY) 'Status'
	@$(PLAYBOOK) pgherd.cluster.status
	$(SAY) 'Connect with'
	@echo "psql '$$(python tests/lab/dsn.py)'"

demo-dsn: venv ## the libpq line through pgpool; VIA=nodes: to the nodes themselves
	@python tests/lab/dsn.py $(VIA)

demo-status: venv ## the status picture of the demo
	@$(PLAYBOOK) pgherd.cluster.status

demo-down: ## remove the demo's hosts
	@python3 tests/lab/lab.py down demo

test: venv ## everything that proves the project
	@python tests/tools/prove.py check package scenarios

test-slow: venv ## promotions, interrupted runs and small clusters, on the hosts that `molecule converge -s default` made
	@LAB_CLUSTER=default python -m pytest -v -m slow molecule/change/tests

check: venv ## lint, types, unit tests, sanity, docs: at every edit
	@python tests/tools/prove.py check

bench-site: venv ## first and second run of the site playbook on eight fresh hosts; RUNS=3
	@python tests/bench/site.py --runs $(or $(RUNS),1)

clean: demo-down ## remove the demo and all that was made in this checkout
	rm -rf .venv .cache .ansible .mypy_cache .pytest_cache .ruff_cache examples/demo/.pgherd *.tar.gz
