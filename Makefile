# Each target installs what it needs first, and accepts these variables, on make's command line or from the environment.
# A variable is the command's option of the same name: DRY_RUN=1 is --dry-run, MODEL=my_slot is --model=my_slot. PULL=1
# checks the registry, YES=1 confirms, JSON=1 prints JSON, LOCKED=1 allows only what builder.lock.yaml contains.
# make expands $ in values on its command line: pass untrusted values to the command (.venv/bin/python -m builder).
TAKES.pickle := CONFIG LOCKED PULL YES JSON
TAKES.render := CONFIG LOCKED JSON
TAKES.validate := CONFIG LOCKED OPEN YES JSON
TAKES.verify := CONFIG LOCKED YES JSON
TAKES.check := PICKLE IMAGE LIVE BENCHMARKS STAND_IN NO_RUN REPORT OPEN YES JSON
TAKES.adopt := PICKLE SLOT NAME IMAGE STAND_IN FORCE LOCKED PULL YES JSON
TAKES.upload := CONFIG LOCKED MODEL CREATE CLEAR_WEBHOOK TRIGGER AGAIN NO_COMPARE DRY_RUN YES JSON
TAKES.rollback := MODEL CONFIG TO YES JSON
TAKES.pin := CONFIG CHECK JSON
TAKES.init := BUNDLE NAME FORCE JSON
TAKES.engine := YES JSON
TAKES.stand-in := PYTHON YES JSON
TAKES.doctor := CONFIG JSON
TAKES.data := CONFIG JSON
TAKES.models := JSON
TAKES.status := SLOT JSON
TAKES.why := SLOT LIVE BENCHMARKS STAND_IN NO_RUN YES JSON
TAKES.sandbox := YES JSON
TAKES.test := YES
TAKES.bench := YES

pickle render validate verify: export CONFIG ?= configs/mlp.yaml
stand-in: export PYTHON ?= 3.12

VENV := .venv/bin/
COMMANDS := pickle render validate verify check adopt upload rollback pin init engine stand-in sandbox doctor data models status why
SUITES := tests/unit tests/inside tests/export tests/engine tests/sandbox tests/system

# A variable that a target does not accept is an error, not ignored, if it is on the command line. LOCKED and DRY_RUN are
# also refused from the environment, since they must not be ignored; others there (NAME, PYTHON) may be for other programs.
from_command_line := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
from_environment := $(foreach name,LOCKED DRY_RUN,$(if $(filter environment,$(origin $(name))),$(if $(filter-out 0,$(value $(name))),$(name))))
refused = $(filter-out $(TAKES.$(goal)),$(from_command_line) $(if $(filter $(goal),$(COMMANDS)),$(from_environment)))
$(foreach goal,$(or $(MAKECMDGOALS),help),$(foreach name,$(refused),\
	$(error make $(goal) does not accept $(name); it accepts: $(or $(TAKES.$(goal)),no variables))))

# make passes a signal only to its child process, so recipes run a long command without a shell in between (exec).
.PHONY: $(COMMANDS) help setup train fmt lint type test bench lock

help: ## list the targets, and the variables that they take
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1@\2/p' Makefile | awk -F@ '{ printf "%-14s%s\n", $$1, $$2 }'
	@sed -nE 's/^TAKES\.([a-z-]+) := (.*)/  \1@\2/p' Makefile | awk -F@ 'BEGIN { print "variables:" } { printf "%-14s%s\n", $$1, $$2 }'

setup: .venv/.run ## make .venv with what the tool needs

pickle: .venv/.run ## build the pickle of CONFIG in its image: dist/NAME/model.pkl
render: .venv/.run ## write the Dockerfile of CONFIG and its build context, without an engine
validate: .venv/.run ## run the pickle of CONFIG in its image under the tournament's limits
verify: .venv/.run ## build the pickle of CONFIG again and compare the bytes
check: .venv/.run ## find out whether any PICKLE would run, and if not, why: read it, then run it in its image
adopt: .venv/.run ## give a finished PICKLE, or what SLOT runs, a config and a dist/NAME; its bytes stay the same
upload: .venv/.run ## deploy the validated pickle of CONFIG to a model slot
rollback: .venv/.run ## assign the pickle that a slot ran before
pin: .venv/.run ## pin the images of all configs by digest in builder.lock.yaml, and print what changed
init: .venv/.run ## write the config of BUNDLE: configs/NAME.yaml
engine: .venv/.run ## find a container engine; install and start one if possible
stand-in: .venv/.run ## build a stand-in image with PYTHON (3.10 to 3.13, oldest, newest, boosters, full)
sandbox: .venv/.run ## run a local sandbox of the tournament until Ctrl-C, to try the tool without an account
doctor: .venv/.run ## check the engine, the image, the API, the token and the slot, without changes
data: .venv/.run ## fetch the live data of the last round, for validate.data: live
models: .venv/.run ## list the slots and the pickle of each
status: .venv/.run ## show the state of all slots, those that need attention first, or of one slot
why: .venv/.run ## explain why a slot's pickle failed, by running it here in its image

$(COMMANDS):
	@sh requirements/run.sh $@ $(TAKES.$@)

.PHONY: rows
rows: .venv/.train ## fetch the rows that configs/examples are validated on: real ones of 2018
	@$(VENV)python -m configs.train.rows

train: .venv/.train ## fetch the example's rows, train its network and write its bundle again
	@$(VENV)python -m configs.train.rows
	@$(VENV)python -m configs.train.mlp
	@$(VENV)python -m configs.train.wide
	@$(VENV)python -m configs.train.examples

fmt: .venv/.test ## format the code
	@$(VENV)ruff format .
	@$(VENV)ruff check --fix-only .

lint: .venv/.test ## check style, words and the import contracts
	@$(VENV)ruff check .
	@$(VENV)ruff format --check .
	@$(VENV)python .ci/check_words.py
	@$(VENV)lint-imports

type: .venv/.test ## check types
	@$(VENV)mypy

test: lint type .venv/.torch ## everything: style, types, contracts, and all suites on a real engine
	@sh requirements/run.sh engine YES
	@sh requirements/browser.sh
	@$(VENV)pytest $(SUITES)

bench: .venv/.bench ## measure, as ratios in one run
	@sh requirements/run.sh engine YES
	@$(VENV)python -m benchmarks

lock: .venv/.run ## resolve requirements/*.in again
	@sh requirements/lock.sh

.venv/.torch: requirements/torch.txt requirements/torch.sh .venv/.test
	@sh requirements/torch.sh

.venv/.%: requirements/%.txt requirements/venv.sh pyproject.toml
	@sh requirements/venv.sh $*
