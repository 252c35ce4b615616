"""Every variable of the Makefile reaches its command as it is, or is refused; no value is taken for code."""

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
ARGUMENT = {"CONFIG", "SLOT"}
OPTIONS = {"MODEL": "--model", "TO": "--to", "BUNDLE": "--bundle", "NAME": "--name", "PYTHON": "--python"}
DEFAULTS = {
    **{target: ["--", "configs/mlp.yaml"] for target in ("pickle", "render", "validate", "verify")},
    "stand-in": ["--python=3.11"],
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
for one; do printf '%s\\0' "$one" >>recorded; done
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The Makefile, set up, with a Python that records what it is called with."""
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


def make(folder: Path, *words: str, **environment: str) -> tuple[int, list[str] | None, str]:
    """Return make's exit code, the arguments of the command that it called, and its standard error."""
    cleared = dict.fromkeys({name for names in TAKES.values() for name in names}, "")
    kept = {key: value for key, value in clones.environment().items() if key not in cleared}
    done = subprocess.run(
        ["make", *words], cwd=folder, env=kept | environment, capture_output=True, text=True, check=False
    )
    recorded = folder / "recorded"
    if not recorded.exists():
        return done.returncode, None, done.stderr
    arguments = recorded.read_bytes().decode().split("\0")[:-1]
    recorded.unlink()
    assert arguments[0] == "-m"
    assert arguments[1] == "builder"
    return done.returncode, arguments[2:], done.stderr


def as_option(target: str, name: str, value: str) -> list[str]:
    """Return what a variable is for the command."""
    if name in ARGUMENT or (target, name) == ("rollback", "MODEL"):
        return ["--", value]
    if name in OPTIONS:
        return [f"{OPTIONS[name]}={value}"]
    return [f"--{name.replace('_', '-').lower()}"]


@pytest.mark.parametrize(("target", "name"), [(target, name) for target in COMMANDS for name in TAKES[target]])
def test_a_variable_reaches_its_command(folder: Path, target: str, name: str) -> None:
    value = "a/b.yaml" if name in ARGUMENT | set(OPTIONS) else "1"
    defaults = [] if name in {"CONFIG", "PYTHON"} else DEFAULTS.get(target, [])
    expected = [*as_option(target, name, value), *defaults]
    for words, environment in (([f"{name}={value}"], {}), ([], {name: value})):
        code, arguments, error = make(folder, target, *words, **environment)
        assert (code, error) == (0, "")
        assert arguments is not None
        assert (arguments[0], sorted(arguments[1:])) == (target, sorted(expected))
        assert parser.build().parse_args([target, *arguments[1:]])


@pytest.mark.parametrize("target", COMMANDS)
def test_a_command_without_variables_has_its_defaults_alone(folder: Path, target: str) -> None:
    assert make(folder, target) == (0, [target, *DEFAULTS.get(target, [])], "")
    empty = {name: "" for name in TAKES[target] if name not in {"CONFIG", "PYTHON"}}
    assert make(folder, target, **empty) == (0, [target, *DEFAULTS.get(target, [])], "")


def test_all_variables_together_reach_upload(folder: Path) -> None:
    switches = [name for name in TAKES["upload"] if name not in {"CONFIG", "MODEL"}]
    words = ["CONFIG=configs/other.yaml", "MODEL=slot", *(f"{name}=1" for name in switches)]
    _, arguments, _ = make(folder, "upload", *words)
    assert arguments is not None
    options = vars(parser.build().parse_args(arguments))
    assert (options["target"], options["model"]) == ("configs/other.yaml", "slot")
    assert all(options[name.lower()] is True for name in switches)


def test_every_variable_that_is_documented_is_taken() -> None:
    """A ``make TARGET NAME=...`` of the documentation is one that the Makefile takes."""
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
    ("target", "variable"),
    [
        ("rollback", "DRY_RUN=1"),
        ("rollback", "LOCKED=1"),
        ("render", "PULL=1"),
        ("pickle", "MODEL=slot"),
        ("status", "CONFIG=configs/mlp.yaml"),
        ("upload", "DRYRUN=1"),  # misspelt, it would upload
        ("setup", "LOCKED=1"),
        ("test", "CONFIG=configs/mlp.yaml"),
        ("help", "JSON=1"),
    ],
)
def test_a_variable_that_a_target_does_not_take_is_refused(folder: Path, target: str, variable: str) -> None:
    name = variable.partition("=")[0]
    for words in ([target, variable], ["models", target, variable]):
        code, arguments, error = make(folder, *words)
        assert (code, arguments) == (2, None)
        assert re.search(rf"make (models|{target}) takes no {name}; it takes: ", error)


@pytest.mark.parametrize("name", ["LOCKED", "DRY_RUN"])
def test_what_promises_that_less_is_done_is_refused_from_the_environment_too(folder: Path, name: str) -> None:
    code, arguments, error = make(folder, "rollback", "MODEL=slot", **{name: "1"})
    assert (code, arguments) == (2, None)
    assert f"make rollback takes no {name}" in error
    for off in ("", "0"):
        assert make(folder, "rollback", "MODEL=slot", **{name: off})[1] == ["rollback", "--", "slot"]
    assert make(folder, "setup", **{name: "1"})[0] == 0
    assert make(folder, "pickle", NAME="this-computer", MODEL="x")[1] == ["pickle", "--", "configs/mlp.yaml"]


@pytest.mark.parametrize("value", ["yes", "true", "2", "1 ", "x;touch made", "a.CONFIG:b"])
def test_a_switch_is_on_or_off(folder: Path, value: str) -> None:
    code, arguments, error = make(folder, "upload", "DRY_RUN=0", YES=value)
    assert (code, arguments) == (2, None)
    assert f"error: YES={value}: expected 1 (on) or 0 (off)" in error
    assert make(folder, "upload", "DRY_RUN=0", YES="0")[1] == ["upload"]
    assert not (folder / "made").exists()


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_no_value_of_the_environment_is_taken_for_code(folder: Path, value: str) -> None:
    for target, name in (("status", "SLOT"), ("upload", "MODEL")):
        code, arguments, error = make(folder, target, **{name: value})
        assert (code, arguments, error) == (0, [target, *as_option(target, name, value)], "")
    make(folder, "rollback", LOCKED=value, YES=value)
    assert not (folder / "made").exists()


@pytest.mark.parametrize("value", [value for value in HOSTILE if "$" not in value], ids=repr)
def test_no_value_of_the_command_line_without_a_dollar_is_taken_for_code(folder: Path, value: str) -> None:
    code, arguments, _ = make(folder, "status", f"SLOT={value}")
    assert code == 0
    assert arguments == ["status", "--", value.lstrip(" ")]  # make takes the spaces before a value for its own
    assert not (folder / "made").exists()


def test_make_ends_with_2_whatever_the_commands_exit_code(folder: Path) -> None:
    (folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 5\n")
    code, _, error = make(folder, "upload")
    assert (code, "Error 5" in error) == (2, True)


def test_make_for_real(folder: Path) -> None:
    command.write_project(folder)
    shutil.copy(ROOT / "Makefile", folder)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    assert make(folder, "render", "CONFIG=configs/small.yaml") == (0, None, "")
    assert (folder / "dist" / "small" / "Dockerfile").is_file()
    for target in ("pickle", "render", "validate", "verify", "upload"):
        code, _, error = make(folder, target, "CONFIG=configs/small.yaml", LOCKED="1")
        assert (code, "Error 5" in error) == (2, True)
        assert f"{folder / 'builder.lock.yaml'}: no such file, and LOCKED=1 (--locked) allows only" in error
        assert "run `make pickle CONFIG=configs/small.yaml` without LOCKED=1" in error
    code, _, error = make(folder, "init")
    assert (code, "name one with BUNDLE=mymodel.bundle.zip (--bundle=mymodel.bundle.zip)\n" in error) == (2, True)
    code, _, error = make(folder, "status", SLOT="x';touch made;'\nsecond", NUMERAI_API_URL="nowhere")
    assert (code, "NUMERAI_API_URL" in error) == (2, True)
    assert not (folder / "made").exists()


SLEEPER = """\
#!/bin/sh
echo $$ >>pids
exec sleep 60
"""


@pytest.mark.parametrize("target", ["pickle", "sandbox", "rows", "train", "test", "lint", "fmt", "bench"])
def test_what_a_target_runs_ends_with_make(folder: Path, target: str) -> None:
    for name in ("python", "ruff", "pytest", "lint-imports", "mypy"):
        (folder / ".venv" / "bin" / name).write_text(SLEEPER)
        (folder / ".venv" / "bin" / name).chmod(0o755)
    for name in (".train", ".torch", ".bench"):
        (folder / ".venv" / name).touch()
    (folder / "requirements" / "torch.sh").unlink(missing_ok=True)
    with subprocess.Popen(["make", target], cwd=folder, env=clones.environment(), stderr=subprocess.DEVNULL) as process:
        pids = folder / "pids"
        while not pids.exists() or not pids.read_text().endswith("\n"):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait() != 0
    (pid,) = map(int, pids.read_text().split())
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Tell whether a process goes on; make waits for what it started, a shell between would leave it behind."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"
