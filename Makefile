# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
# `make` lists the targets. Everything made here lies in .venv and .cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv images host-images kubernetes kubernetes-down demo demo-dsn demo-status demo-down demo-kubernetes \
  demo-kubernetes-dsn demo-kubernetes-down test test-more test-faults test-chaos test-kubernetes test-kubernetes-chaos check \
  bench-site bench-failover bench-crowd bench-kubernetes faults-down clean

COLLECTIONS := $(CURDIR)/.cache/collections
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export ANSIBLE_FORKS ?= 8
export ANSIBLE_NOCOWS := 1
export PYTHONDONTWRITEBYTECODE := 1

LAB := python tests/lab/lab.py
DEMO := examples/demo/inventory.yml
FAULTS ?= tree
FAULTS_INVENTORY ?= tests/faults/tree.yml
PLAYBOOK := ansible-playbook -i $(DEMO) -i .cache/lab/demo/hosts.yml
SCENE := python tests/lab/kubernetes/scene.py
PODS_DEMO := examples/pods-demo/inventory.yml
PODS := molecule/kubernetes/inventory.yml
SAY = @printf '\n== %s\n' >&2

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 22

venv: ## the tools, in .venv
	@tests/tools/venv .venv requirements-dev.txt requirements.txt
	@mkdir -p $(COLLECTIONS)/ansible_collections/pgherd
	@ln -sfn $(CURDIR) $(COLLECTIONS)/ansible_collections/pgherd/cluster

images: venv ## the pods' images of this checkout, localhost/pgherd:VERSION-RELEASE; ONLY=trixie
	@python tests/lab/kubernetes/pod_image.py $(ONLY)

host-images: venv ## base images of the test hosts
	@$(LAB) images

kubernetes: venv ## a real Kubernetes of three nodes on this machine, for tests, with the pods' image in it
	@python tests/lab/kubernetes/cluster.py up
	@python tests/lab/kubernetes/pod_image.py trixie --load
	@echo "export KUBECONFIG=$$(python tests/lab/kubernetes/cluster.py kubeconfig)"

kubernetes-down: ## remove it; its programs stay for the next time
	@python3 tests/lab/kubernetes/cluster.py down

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

demo-kubernetes: venv ## a running cluster in pods, in KUBECONFIG's Kubernetes or in one on this machine, and the line to connect with
	$(SAY) 'Kubernetes, and the image in it'
	@$(SCENE) up pods-demo
	$(SAY) 'Site playbook'
	@eval "$$($(SCENE) env)"; ansible-playbook -i $(PODS_DEMO) pgherd.cluster.site
	$(SAY) 'Data, through pgpool'
	@python tests/lab/load_demo.py "$$($(SCENE) dsn $(PODS_DEMO))"
	$(SAY) 'Status'
	@eval "$$($(SCENE) env)"; ansible-playbook -i $(PODS_DEMO) pgherd.cluster.status
	$(SAY) 'Connect with'
	@echo "psql '$$($(SCENE) dsn $(PODS_DEMO))'"

demo-kubernetes-dsn: venv ## the libpq line through its pgpools; VIA=nodes: to the primary
	@$(SCENE) dsn $(PODS_DEMO) $(VIA)

demo-kubernetes-down: ## remove it, and the Kubernetes that was started for it
	@python3 tests/lab/kubernetes/scene.py down pods-demo pods-demo
	@rm -rf examples/pods-demo/.pgherd

test: venv ## everything that proves the project
	@python tests/tools/prove.py check package scenarios

test-more: venv ## what guards no rule of safety or security; writes its table into docs/more.md
	@python tests/tools/prove.py more

test-faults: venv ## every fault, on five nodes in a tree; ONLY=expression, RUNS=3
	@python tests/faults/prepare.py $(FAULTS) $(FAULTS_INVENTORY)
	@for run in $$(seq $(or $(RUNS),1)); do \
	  LAB_CLUSTER=$(FAULTS) PGHERD_TEST_INVENTORY=$(FAULTS_INVENTORY) \
	    python -m pytest -v -m 'fault' -k '$(ONLY)' tests/faults/suite || failed=1; \
	done; PYTHONPATH=tests python -m faults.records .cache/lab/$(FAULTS)/results.jsonl; exit $${failed:-0}

test-chaos: venv ## random faults and switchovers under load; MINUTES=60 SEED=n
	@python tests/faults/prepare.py $(FAULTS) $(FAULTS_INVENTORY)
	@PYTHONPATH=tests python -m faults.chaos $(FAULTS) $(FAULTS_INVENTORY) --minutes $(or $(MINUTES),60) --seed $(or $(SEED),0)

test-kubernetes: venv ## a cluster in pods, from nothing, and the faults that matter most
	@molecule test -s kubernetes

test-kubernetes-chaos: venv ## random faults of pods and switchovers under load; MINUTES=60 SEED=n
	@python tests/faults/prepare.py kubernetes $(PODS)
	@eval "$$($(SCENE) env)"; PYTHONPATH=tests python -m faults.chaos kubernetes $(PODS) \
	  --minutes $(or $(MINUTES),60) --seed $(or $(SEED),0)

check: venv ## lint, types, unit tests, sanity, docs: at every edit
	@python tests/tools/prove.py check

bench-site: venv ## first and second run of the site playbook on eight fresh hosts; RUNS=3 BASE=11fcda9: beside that commit
	@python tests/bench/site.py --runs $(or $(RUNS),1) $(if $(BASE),--base $(BASE))

bench-failover: venv ## how long nobody can write when the primary fails; RUNS=5 ONLY=killed,gone,frozen,cut,switchover PEER=patroni
ifdef PEER
	@python tests/bench/beside.py --peer $(PEER) --runs $(or $(RUNS),5) $(if $(ONLY),--only $(ONLY))
else
	@python tests/faults/prepare.py faults molecule/faults/inventory.yml
	@python tests/bench/failover.py --runs $(or $(RUNS),5) $(if $(ONLY),--only $(ONLY))
endif

bench-crowd: venv ## the same beside slow clients at every agent's port, and what balancers hear; RUNS=3 CLIENTS=300 ONLY=gone
	@python tests/faults/prepare.py faults molecule/faults/inventory.yml
	@python tests/bench/crowd.py --runs $(or $(RUNS),3) --clients $(or $(CLIENTS),300) --only $(or $(ONLY),gone)

bench-kubernetes: venv ## how long nobody can write when the primary's pod fails; RUNS=5 ONLY=killed,deleted,forced,switchover,off
	@$(SCENE) up kubernetes
	@python tests/bench/kubernetes.py --runs $(or $(RUNS),5) $(if $(ONLY),--only $(ONLY))

faults-down: ## remove the hosts of test-faults, test-chaos, bench-failover and bench-crowd
	@for cluster in $(FAULTS) faults three patroni; do python3 tests/lab/lab.py down $$cluster; done

clean: demo-down faults-down ## remove the demo and all that was made in this checkout
	rm -rf .venv .cache .ansible .mypy_cache .pytest_cache .ruff_cache examples/demo/.pgherd *.tar.gz
