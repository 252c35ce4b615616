"""Every variable of the Makefile reaches its command unchanged, or is refused; no value is executed as code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.cli import parser
from tests.support import clones, command

ROOT = clones.ROOT
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TAKES = {target: names.split() for target, names in re.findall(r"^TAKES\.(\S+) := (.*)$", MAKEFILE, re.MULTILINE)}
COMMANDS = re.findall(r"^COMMANDS := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
ARGUMENT = {"CONFIG", "PICKLE", "SLOT"}
OPTIONS = {
    "MODEL": "--model",
    "TO": "--to",
    "BUNDLE": "--bundle",
    "NAME": "--name",
    "PYTHON": "--python",
    "IMAGE": "--image",
    "LIVE": "--live",
    "BENCHMARKS": "--benchmarks",
    "STAND_IN": "--stand-in",
    "SLOT": "--slot",
    "REPORT": "--report",
}
DEFAULTS = {
    **{target: ["--", "configs/mlp.yaml"] for target in ("pickle", "render", "validate", "verify")},
    "stand-in": ["--python=3.12"],
}
HOSTILE = [
    "x;touch made",
    "x';touch made;'",
    'x";touch made;"',
    "$(touch made)",
    "$(shell touch made)",
    "`touch made`",
    "${HOME}",
    "$$",
    "a b",
    " a\t*",
    "first\nsecond\n",
    "--yes",
    "-",
    "a:",
    "x.CONFIG:y",
    "é",
]
RECORDER = """\
#!/bin/sh
for argument; do printf '%s\\0' "$argument" >>recorded; done
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile and a .venv whose Python records its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(RECORDER)
    python.chmod(0o755)
    for name in (".run", ".test"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(folder: Path, *words: str, **environment: str) -> tuple[int, list[list[str]], str]:
    """Run make; return its exit code, the arguments of each command that it ran, and its standard error."""
    return record(folder, "make", *words, **environment)


def record(folder: Path, *program: str, **environment: str) -> tuple[int, list[list[str]], str]:
    """Run a program; return its exit code, the arguments of each command that it ran, and its standard error."""
    cleared = {name for names in TAKES.values() for name in names}
    inherited = {key: value for key, value in clones.make_environment().items() if key not in cleared}
    result = subprocess.run(
        program, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )
    recorded = folder / "recorded"
    calls: list[list[str]] = []
    if recorded.exists():
        for argument in recorded.read_bytes().decode().split("\0")[:-1]:
            if argument == "-m":
                calls.append([])
            else:
                calls[-1].append(argument)
        recorded.unlink()
    for call in calls:
        assert call.pop(0) == "builder"
    return result.returncode, calls, result.stderr


def make_value(name: str) -> str:
    """Return a valid value of a variable."""
    return "3.12" if name == "PYTHON" else f"a {name}/b.yaml" if name in ARGUMENT | set(OPTIONS) else "1"


def to_options(target: str, values: dict[str, str]) -> list[str]:
    """Return the command-line options of variables, in the order of the Makefile, and the argument last."""
    options, argument = [], []
    for name in TAKES[target]:
        if name not in values:
            continue
        if (name in ARGUMENT and (target, name) != ("adopt", "SLOT")) or (target, name) == ("rollback", "MODEL"):
            argument = ["--", values[name]]
        elif name in OPTIONS:
            options.append(f"{OPTIONS[name]}={values[name]}")
        else:
            options.append(f"--{name.replace('_', '-').lower()}")
    return [*options, *argument]


@pytest.mark.parametrize("target", COMMANDS)
def test_every_variable_reaches_its_command_and_is_an_option_of_it(folder: Path, target: str) -> None:
    values = {name: make_value(name) for name in TAKES[target]}
    expected = to_options(target, values)
    assert make(folder, target, *(f"{name}={value}" for name, value in values.items())) == (
        0,
        [[target, *expected]],
        "",
    )
    context = parser.load(target).make_context(target, list(expected))
    inputs = {name: value for name, value in context.params.items() if value not in (None, False, ".", 3600.0, "seen")}
    # `rollback` has one argument for a slot or a config, and here both variables set it.
    assert len(inputs) == len(values) - (target == "rollback")


def test_every_variable_is_taken_from_the_environment(folder: Path) -> None:
    values = {name: make_value(name) for names in TAKES.values() for name in names if name not in {"LOCKED", "DRY_RUN"}}
    assert make(folder, *COMMANDS, **values) == (0, [[target, *to_options(target, values)] for target in COMMANDS], "")
    for name in ("LOCKED", "DRY_RUN"):
        targets = [target for target in COMMANDS if name in TAKES[target]]
        for value, option in (("1", [f"--{name.lower().replace('_', '-')}"]), ("0", []), ("", [])):
            expected = [[target, *option, *DEFAULTS.get(target, [])] for target in targets]
            assert make(folder, *targets, **{name: value}) == (0, expected, "")


def test_commands_without_variables_have_their_defaults_alone(folder: Path) -> None:
    expected = (0, [[target, *DEFAULTS.get(target, [])] for target in COMMANDS], "")
    assert make(folder, *COMMANDS) == expected
    empty = {name: "" for names in TAKES.values() for name in names if name not in {"CONFIG", "PYTHON"}}
    assert make(folder, *COMMANDS, **empty) == expected


def test_every_documented_variable_is_accepted() -> None:
    """The Makefile accepts every ``make TARGET NAME=...`` of the documentation."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    used = re.findall(r"\bmake ([a-z-]+)((?: [A-Z_]+=\S+)+)", text)
    assert len(used) > 10
    wrong = [
        (target, name)
        for target, variables in used
        for name in re.findall(r" ([A-Z_]+)=", variables)
        if name not in TAKES.get(target, [])
    ]
    assert wrong == []
    assert set(TAKES) <= set(re.findall(r"^([a-z-]+):[^=\n]*## ", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"`([A-Z_]+)=1`", text)) <= {name for names in TAKES.values() for name in names}


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("rollback", "DRY_RUN=1"), "make rollback does not accept DRY_RUN; it accepts: "),
        (("pickle", "MODEL=slot"), "make pickle does not accept MODEL; it accepts: CONFIG"),
        (("upload", "DRYRUN=1"), "make upload does not accept DRYRUN; it accepts: "),  # misspelt, it would upload
        (("setup", "LOCKED=1"), "make setup does not accept LOCKED; it accepts: no variables"),
        (("LOCKED=1",), "make help does not accept LOCKED; it accepts: no variables"),
        (("pickle", "models", "LOCKED=1"), "make models does not accept LOCKED; it accepts: JSON"),
    ],
)
def test_an_unknown_variable_of_a_target_is_refused(folder: Path, words: tuple[str, ...], refusal: str) -> None:
    code, calls, error = make(folder, *words)
    assert (code, calls) == (2, [])
    assert refusal in error


def test_locked_and_dry_run_are_refused_from_the_environment_too(folder: Path) -> None:
    for name in ("LOCKED", "DRY_RUN"):
        code, calls, error = make(folder, "rollback", "MODEL=slot", **{name: "1"})
        assert (code, calls) == (2, [])
        assert f"make rollback does not accept {name}" in error
    assert make(folder, "rollback", "MODEL=slot", LOCKED="0", DRY_RUN="")[1] == [["rollback", "--", "slot"]]
    assert make(folder, "setup", LOCKED="1", DRY_RUN="1")[0] == 0
    assert make(folder, "pickle", NAME="this-computer", MODEL="x")[1] == [["pickle", *DEFAULTS["pickle"]]]


@pytest.mark.parametrize("value", ["yes", "2", "1 ", "x;touch made", "$(touch made)", "a.CONFIG:b"])
def test_a_switch_accepts_only_0_and_1(folder: Path, value: str) -> None:
    code, calls, error = record(folder, "sh", "requirements/run.sh", "upload", "YES", YES=value)
    assert (code, calls, error) == (2, [], f"error: YES={value}: expected 1 (on) or 0 (off)\n")
    assert not (folder / "made").exists()


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_no_value_is_executed_as_code(folder: Path, value: str) -> None:
    """The script alone, for an argument and for an option with a value; the next test runs it through make."""
    result = record(folder, "sh", "requirements/run.sh", "upload", "CONFIG", "MODEL", CONFIG=value, MODEL=value)
    assert result == (0, [["upload", f"--model={value}", "--", value]], "")
    assert not (folder / "made").exists()


def test_make_executes_no_value_as_code(folder: Path) -> None:
    for value in ("$(shell touch made)", "x';touch made;'", "first\nsecond\n", " a\t*"):
        expected = [["status", "--", value], ["upload", f"--model={value}", "--", value]]
        assert make(folder, "status", "upload", SLOT=value, MODEL=value, CONFIG=value) == (0, expected, "")
    for value in ("x';touch made;'", "`touch made`", "first\nsecond\n", "a:"):
        assert make(folder, "status", f"SLOT={value}") == (0, [["status", "--", value]], "")
    assert not (folder / "made").exists()


def test_make_exits_with_2_for_any_exit_code_of_the_command(folder: Path) -> None:
    (folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 5\n")
    code, _, error = make(folder, "upload")
    assert (code, "Error 5" in error) == (2, True)


def test_make_runs_the_real_commands(folder: Path) -> None:
    command.write_project(folder)
    shutil.copy(ROOT / "Makefile", folder)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    assert make(folder, "render", "CONFIG=configs/small.yaml") == (0, [], "")
    assert (folder / "dist" / "small" / "Dockerfile").is_file()
    code, _, error = make(folder, "upload", "CONFIG=configs/small.yaml", LOCKED="1")
    assert (code, "Error 5" in error) == (2, True)
    assert f"{folder / 'builder.lock.yaml'}: not found, and LOCKED=1 (--locked) allows only" in error
    assert "run `make pickle CONFIG=configs/small.yaml` without LOCKED=1" in error
    code, _, error = make(folder, "init")
    assert (code, "pass BUNDLE=mymodel.bundle.zip (--bundle=mymodel.bundle.zip)\n" in error) == (2, True)
    code, _, error = make(folder, "why", SLOT="")
    assert (code, "missing argument 'SLOT|PICKLE'; pass SLOT=...\n" in error) == (2, True)
    code, _, error = make(folder, "status", SLOT="x';touch made;'\nsecond", NUMERAI_API_URL="nowhere")
    assert (code, "NUMERAI_API_URL" in error) == (2, True)
    assert not (folder / "made").exists()


SLEEPER = """\
#!/bin/sh
echo $$ >>pids
exec sleep 60
"""


@pytest.mark.parametrize("target", ["pickle", "sandbox", "train", "test", "bench"])
def test_the_process_of_a_target_ends_with_make(folder: Path, target: str) -> None:
    for name in ("python", "ruff", "pytest", "lint-imports", "mypy"):
        (folder / ".venv" / "bin" / name).write_text(SLEEPER)
        (folder / ".venv" / "bin" / name).chmod(0o755)
    for name in (".train", ".torch", ".bench"):
        (folder / ".venv" / name).touch()
    (folder / "requirements" / "torch.sh").unlink(missing_ok=True)
    with subprocess.Popen(
        ["make", target], cwd=folder, env=clones.make_environment(), stderr=subprocess.DEVNULL
    ) as process:
        pids = folder / "pids"
        while not pids.exists() or not pids.read_text().endswith("\n"):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait() != 0
    (pid,) = map(int, pids.read_text().split())
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Return whether a process is running; make waits for its child, but a shell in between would orphan it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"
