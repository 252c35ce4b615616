# Every verb sets up what it needs first. PULL=1 asks the registry, YES=1 does not ask, JSON=1 prints for programs;
# LOCKED=1 (pickle, validate, verify) refuses what builder.lock.yaml does not say; pin takes CONFIG=..., CHECK=1;
# upload takes MODEL=slot, and CREATE=1, CLEAR_WEBHOOK=1, TRIGGER=1, AGAIN=1, NO_COMPARE=1, DRY_RUN=1; rollback MODEL=, TO=;
# status takes SLOT=name; doctor takes CONFIG=...;
# init takes BUNDLE=mymodel.bundle.zip, and NAME=..., FORCE=1 where needed.
CONFIG ?= configs/mlp.yaml
PYTHON ?= 3.11
VENV := .venv/bin/
BUILDER := $(VENV)python -m builder
FLAGS = $(if $(YES),--yes) $(if $(JSON),--json)
UPLOAD = $(if $(MODEL),--model $(MODEL)) $(if $(CREATE),--create) $(if $(CLEAR_WEBHOOK),--clear-webhook) \
	$(if $(TRIGGER),--trigger) $(if $(AGAIN),--again) $(if $(NO_COMPARE),--no-compare) $(if $(DRY_RUN),--dry-run)
SUITES := tests/unit tests/inside tests/export tests/engine tests/sandbox tests/system

.PHONY: help setup pickle render validate verify upload rollback pin init engine stand-in doctor models status sandbox train fmt lint type test bench lock

help: ## list the verbs
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1@\2/p' Makefile | awk -F@ '{ printf "%-14s%s\n", $$1, $$2 }'

setup: .venv/.run ## make .venv with what the tool needs

pickle: .venv/.run ## make the pickle of CONFIG in its image: dist/NAME/model.pkl
	@$(BUILDER) pickle $(FLAGS) $(if $(LOCKED),--locked) $(if $(PULL),--pull) $(CONFIG)

render: .venv/.run ## write the Dockerfile of CONFIG and its context; needs no engine
	@$(BUILDER) render $(CONFIG)

validate: .venv/.run ## run the pickle of CONFIG in its image under the tournament's limits
	@$(BUILDER) validate $(FLAGS) $(if $(LOCKED),--locked) $(CONFIG)

verify: .venv/.run ## make the pickle of CONFIG again and compare the bytes
	@$(BUILDER) verify $(FLAGS) $(if $(LOCKED),--locked) $(CONFIG)

upload: .venv/.run ## deploy the validated pickle of CONFIG to a model slot
	@$(BUILDER) upload $(FLAGS) $(UPLOAD) $(CONFIG)

rollback: .venv/.run ## have a slot run again what it ran before
	@$(BUILDER) rollback $(FLAGS) $(if $(TO),--to $(TO)) $(or $(MODEL),$(CONFIG))

pin: .venv/.run ## pin the images of all configs in builder.lock.yaml by their digests, and say what changed
	@$(BUILDER) pin $(if $(JSON),--json) $(if $(CHECK),--check) $(if $(filter-out file,$(origin CONFIG)),$(CONFIG))

init: .venv/.run ## write the config of BUNDLE: configs/NAME.yaml
	@$(BUILDER) init $(if $(JSON),--json) $(if $(NAME),--name $(NAME)) $(if $(FORCE),--force) --from "$(BUNDLE)"

engine: .venv/.run ## find a container engine; install and start one where that is possible
	@$(BUILDER) engine $(FLAGS)

stand-in: .venv/.run ## make a look-alike of the runner image with PYTHON (3.10 to 3.13, oldest, newest)
	@$(BUILDER) stand-in $(FLAGS) --python $(PYTHON)

doctor: .venv/.run ## look at the engine, the image, the API, the token and the slot; change nothing
	@$(BUILDER) doctor $(if $(JSON),--json) $(CONFIG)

models: .venv/.run ## list the slots and what runs in each
	@$(BUILDER) models $(if $(JSON),--json)

status: .venv/.run ## show all slots, what needs attention first, or one slot
	@$(BUILDER) status $(if $(JSON),--json) $(SLOT)

sandbox: .venv/.test ## stand in for the tournament, with a registry, until Ctrl-C: to try pin, pickle and upload
	@$(VENV)python -m tests.sandbox $(if $(YES),--yes)

.PHONY: rows
rows: .venv/.train ## fetch the rows that configs/examples are validated on: real ones of 2018
	@$(VENV)python -m configs.train.rows

train: .venv/.train ## fetch the example's rows, train its network and write its bundle again
	@$(VENV)python -m configs.train.rows && for one in mlp wide examples; do $(VENV)python -m configs.train.$$one || exit; done

fmt: .venv/.test ## format the code
	@$(VENV)ruff format . && $(VENV)ruff check --fix-only .

lint: .venv/.test ## check style and the import contracts
	@$(VENV)ruff check . && $(VENV)ruff format --check . && $(VENV)lint-imports

type: .venv/.test ## check types
	@$(VENV)mypy

test: lint type .venv/.torch ## everything: style, types, contracts, and all suites on a real engine
	@$(BUILDER) engine $(if $(YES),--yes) && $(VENV)pytest -n auto --dist loadgroup $(SUITES)

bench: .venv/.bench ## measure, as ratios in one run
	@$(BUILDER) engine $(if $(YES),--yes) && $(VENV)python -m benchmarks

lock: ## resolve requirements/*.in again (takes uv from PATH)
	@sh requirements/lock.sh

.venv/.torch: requirements/torch.txt requirements/torch.sh .venv/.test
	@sh requirements/torch.sh

.venv/.%: requirements/%.txt requirements/venv.sh pyproject.toml
	@sh requirements/venv.sh $*
