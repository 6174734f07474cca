# The commands of the project. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(abspath $(dir $(lastword $(MAKEFILE_LIST))))/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# DVC writes dvc.lock and its rwlock in place; a kill at that moment leaves a file that it cannot read
RWLOCK = "$$(git rev-parse --show-toplevel)/.dvc/tmp/rwlock"
LOCKFILE = 'import yaml; from dvc.schema import COMPILED_LOCKFILE_SCHEMA as check; check(yaml.safe_load(open("dvc.lock")))'
RECOVER = { python -m json.tool $(RWLOCK) || rm -f $(RWLOCK); \
	test ! -e dvc.lock || python -c $(LOCKFILE) || git checkout dvc.lock || rm dvc.lock; } >/dev/null 2>&1
.DEFAULT_GOAL := help
.PHONY: help install demo real real-quick paper cell small-clip bench reference test quick test-all rehearsal lint format recover lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## create .venv and install the project with pinned versions

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "error: python3 has no venv module; on Debian or Ubuntu: apt install python3-venv" >&2; rm -rf .venv; exit 1; }
	@echo "installing into .venv (about 7 GB, a few minutes the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[pipeline,dev]'
	@touch $@

demo: install ## the pipeline on simulated databases, about 8 minutes on 2 cores; results in demo/results
	@cd demo && $(RECOVER) && dvc repro
	@echo "open demo/results/site/index.html"
	@cd demo && grmp verify

# FROM names folders of LIVE Challenge or of BIQ2021 (its files, or its git repository)
SORT_FROM = livec=; biq2021=; for path in $(abspath $(FROM)); do \
	if ls "$$path" | grep -q -e '^Train' -e '^HEAD$$'; then biq2021=$$path; else livec=$$path; fi; done; \
	test -n "$$livec$$biq2021" || { echo 'error: pass folders of LIVE Challenge or BIQ2021: make $@ FROM="/path/to/ChallengeDB_release"' >&2; exit 1; }

# `small` learns the same prompts in livec, biq2021 and cross; `grmp pretrain` keeps a copy that is what it would learn
PROMPTS = case $$PWD in */biq2021|*/cross) if [ -d ../livec/models/prompts ]; then mkdir -p models results; \
	cp -ru ../livec/models/prompts models; cp -ru ../livec/results/pretrain results; fi;; esac

real: install ## the small CLIPs on photographs: make real FROM="/path/to/ChallengeDB_release /path/to/BIQ2021"
	@set -e; $(SORT_FROM); \
	repro() { echo "real/$$1"; cd $(CURDIR)/real/$$1; shift; while [ $$# -gt 0 ]; do grmp data fetch $$1 --from "$$2"; shift 2; done; $(PROMPTS); $(RECOVER); dvc repro; }; \
	if [ -n "$$livec" ]; then repro livec-rated livec "$$livec"; repro livec livec "$$livec"; fi; \
	if [ -n "$$biq2021" ]; then repro biq2021 biq2021 "$$biq2021"; fi; \
	if [ -n "$$livec" ] && [ -n "$$biq2021" ]; then repro cross livec "$$livec" biq2021 "$$biq2021"; fi
	@echo "open real/*/results/site/index.html"

QUICK = zero_shot ridge last_blocks full random_prompts meta_prompts grmp
real-quick: install ## 50 labels of LIVE Challenge, seven methods, the sound protocol: make real-quick FROM=PATH
	@set -e; $(SORT_FROM); \
	test -n "$$livec" || { echo "error: make real-quick needs the folder of LIVE Challenge" >&2; exit 1; }; \
	for folder in livec-rated livec; do cd $(CURDIR)/real/$$folder; \
	grmp data fetch livec --from "$$livec"; $(RECOVER); dvc repro pretrain@fomaml; \
	printf '%s\n' $(QUICK) | xargs -I {} -P 2 grmp run livec {} 50 --protocol sound; \
	grmp collect; grmp notebooks few_shot; done

paper: install ## the paper: download the databases and run everything (use a GPU)
	@$(RECOVER) && dvc repro

# make cell IN=demo TARGET=sim_wild LEARN="sim_pre1 sim_pre2" does the same with simulated databases
IN ?= .
TARGET ?= koniq10k
LEARN ?= tid2013 kadid10k
cell: install ## one cell of the paper: GRMP-IQA, 50 labels of KonIQ-10k (10 GB to download; use a GPU)
	@cd $(IN) && grmp data fetch $(TARGET) $(LEARN) && grmp data prepare $(TARGET) $(LEARN) && \
		grmp backbone && grmp pretrain fomaml && grmp run $(TARGET) grmp 50

small-clip: install ## retrain the shipped CLIPs, hours on 2 cores: make small-clip FROM=/path/to/BIQ2021
	@test -n "$(FROM)" || { echo "error: pass BIQ2021's folder: make small-clip FROM=/path/to/BIQ2021" >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[small]'
	@python -m small --from "$(abspath $(FROM))"

bench: install ## speed compared with a plain implementation (make bench DEVICE=cuda)
	@python -m bench --device $(or $(DEVICE),cpu)

# the notebooks of real/ that show no photograph: photographs may not be redistributed
SHOWN = few_shot full_supervision ablation gradient selection cross_dataset continual cost
reference: ## copy the results of demo/ and real/*/ into results/, the committed reference
	@test ! -d demo/results/site || { rm -rf results/demo; cp -r demo/results results/demo; cp demo/dvc.lock results/demo; rm -rf results/demo/partial results/demo/by_hand; }
	@for folder in real/*/; do test ! -f $$folder/results/scores.csv || { rm -rf results/$$folder; mkdir -p results/$$folder; \
		cd $(CURDIR)/$$folder/results && cp -r params.yaml *.json *.csv $(CURDIR)/results/$$folder && \
		{ test ! -d ../data/splits/livec || cp -r ../data/splits/livec $(CURDIR)/results/$$folder/splits; } && \
		for part in tables $(foreach name,$(SHOWN),figures/$(name) notebooks/$(name).ipynb); do test ! -e $$part || cp -r --parents $$part $(CURDIR)/results/$$folder; done; cd $(CURDIR); }; done

lint: install ## ruff (lint and format) and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: install ## format the code with ruff
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

# the type checker runs beside the tests, which do not use both cores all the time
test: ## linter, type checker and all but the slow tests
	@$(MAKE) --no-print-directory -j 2 lint quick

quick: install ## all but the slow tests, without linter and type checker
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: lint ## all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

rehearsal: install ## the paper's settings in miniature, every stage and page; meaningless numbers (needs GRMP_SHARED)
	@python -m tests.pipeline.rehearsal $(TO)

recover: ## repair what a killed dvc repro left half-written
	@$(RECOVER)

lock: install ## update constraints.txt from the installed packages
	@$(BIN)/python -m pip freeze --exclude-editable | grep -v '^-e' > constraints.txt

clean: ## delete what demo/ and real/ have computed (not .venv)
	rm -rf demo/data demo/models demo/results real/*/data real/*/models real/*/results
