"""The command line: its commands, exit codes and messages, which are never a traceback."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pytest

import builder
from builder import errors
from builder.bundle import model
from builder.cli import engine_session, parser, requirements
from tests.support import bundles, command, fork_server
from tests.support.command import CONFIG, ROOT, call, find_loaded_modules, read_output, run, start

HEAVY = {"numpy", "pandas", "pyarrow", "scipy", "docker", "jinja2", "yaml", "httpx", "graphql"}
IN_MAKE = {
    "adopt",
    "check",
    "pickle",
    "render",
    "validate",
    "verify",
    "upload",
    "rollback",
    "pin",
    "init",
    "engine",
    "stand-in",
    "sandbox",
    "data",
    "doctor",
    "models",
    "status",
    "why",
}
BY_COMMAND = {
    "bundle",
    "pickles",
    "data-versions",
    "logs",
    "trigger",
    "assign",
    "disable",
    "label",
    "create-model",
    "download",
    "credentials",
    "query",
    "images",
}
"""Commands that only read, or that take one slot or pickle: a target of `make` would be longer to type."""


# ---- the commands


def commands_of_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("COLUMNS", "200")
    assert call("--help") == 0
    out, err = read_output(capsys)
    assert err == ""
    return dict(re.findall(r"^│ ([a-z][a-z-]*)  +(\S.*?) +│$", out, re.MULTILINE))


def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_makefile_has_the_commands_with_the_same_descriptions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_texts = dict(re.findall(r"^([a-z-]+):[^#]*## (.*)$", makefile(), re.MULTILINE))
    help_texts = commands_of_help(capsys, monkeypatch)
    assert set(help_texts) == IN_MAKE | BY_COMMAND
    assert {name: make_texts.get(name) for name in IN_MAKE} == {name: help_texts[name] for name in IN_MAKE}
    assert not set(make_texts) & BY_COMMAND
    assert {name.partition(" ")[0] for name in parser.names()} == set(help_texts)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in commands_of_help(capsys, monkeypatch).items():
        assert call(name, "--help") == 0
        out = read_output(capsys)[0]
        assert text in out
        assert "<bool>" not in out  # an option that takes no value


def test_help_and_a_wrong_name_import_no_command() -> None:
    lines = ["--help", "--version", "pikle", "bundle shw", "bundle --help", ""]
    modules = find_loaded_modules(f"from builder.cli import main\nfor line in {lines}: main.main(line.split())")
    assert HEAVY & modules == set()
    names = {f"builder.cli.{name.replace(' ', '_').replace('-', '_')}" for name in parser.names()}
    assert names & modules == set()


def test_a_command_imports_no_other() -> None:
    modules = find_loaded_modules("from builder.cli import main; main.main(['models', '--help'])")
    assert "builder.cli.models" in modules
    assert not {"builder.cli.pickle", "builder.cli.upload", "docker", "pandas", "pyarrow", "scipy"} & modules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pikle",), "no such command 'pikle'. Did you mean 'pickle', 'pickles'? See `numerai-builder --help`"),
        (("datversions",), "Did you mean 'data-versions'?"),
        (("bundle", "shw"), "no such command 'shw'. Did you mean 'show'? See `numerai-builder bundle --help`"),
        (
            ("upload", "--dry-rum"),
            "no such option: --dry-rum (Possible options: --dry-run); see `numerai-builder upload ",
        ),
        (("bundle", "show", "x", "--jsn"), "(Possible options: --json); see `numerai-builder bundle show --help`"),
        (("pickle", "--locked=1"), "option '--locked' does not take a value; see `numerai-builder pickle --help`"),
        (("pickle", "a", "b"), "got unexpected extra argument(s) (b); see `numerai-builder pickle --help`"),
        (("stand-in",), "missing option '--python'; see `numerai-builder stand-in --help`"),
        (("trigger", "slot", "--wait", "nan"), "invalid value for '--wait': "),
        (("trigger", "slot", "--wait", "-1"), "'--wait': expected greater than or equal to 0; see"),
        (("trigger", "slot", "--wait", "x"), "'--wait': expected a valid number"),
        (("sandbox", "--words", "x"), "'--words': 'x' is not one of 'seen', 'others'; see"),
        (("trigger", "slot", "--wait", "604801"), "invalid value for '--wait': "),
        (("sandbox", "--port", "65536"), "invalid value for '--port': "),
        (("bundle",), "missing command; see `numerai-builder bundle --help`"),
        ((), "missing command; see `numerai-builder --help`"),
        (("pickle", "--\x1b[2J"), "no such option: --\\x1b[2J"),
    ],
    ids=str,
)
def test_an_invalid_command_line_is_a_usage_error(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    out, err = read_output(capsys)
    assert out == ""
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")
    assert len(err.splitlines()) <= 2, "the usage and the error"


COMPLETED = [
    ("pi", {"pickle", "pickles", "pin"}),
    ("bundle ", {"show", "check", "convert"}),
    ("upload --c", {"--create", "--clear-webhook"}),
    ("pickle ", {"configs/small.yaml"}),
    ("validate d", {"dist/small"}),
]


@pytest.mark.parametrize(("typed", "offered"), COMPLETED)
def test_a_shell_completes_commands_options_and_configs(
    project: Path, typed: str, offered: set[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "dist" / "small").mkdir(parents=True)
    (project / "dist" / "small" / "manifest.json").touch()
    monkeypatch.setenv("_NUMERAI_BUILDER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"numerai-builder {typed}")
    monkeypatch.setenv("COMP_CWORD", str(1 + typed.count(" ")))
    assert call() == 0
    assert set(read_output(capsys)[0].split()) == offered


def test_the_script_for_a_shell_is_shown_and_installed(tmp_path: Path) -> None:
    home = str(tmp_path)
    code, out, err = run("--show-completion", "bash", HOME=home, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (code, err) == (0, "")
    assert "_NUMERAI_BUILDER_COMPLETE=complete_bash" in out
    code, _, _ = run("--install-completion", "bash", HOME=home, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert code == 0
    output = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "_NUMERAI_BUILDER_COMPLETE=complete_bash" in output


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert read_output(capsys)[0] == f"numerai-builder {builder.__version__}\n"


# ---- exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("what, where; what next"), 2),
        (errors.ConfigError(["first", "second"]), 2),
        (errors.BundleError(["first"]), 2),
        (errors.DataError(["first"]), 2),
        (errors.ArtifactError("x"), 2),
        (errors.EngineError("x"), 3),
        (errors.BuildError("x"), 3),
        (errors.ImageError("x"), 3),
        (errors.NetworkError("x"), 4),
        (errors.RefusedError("x"), 5),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code_and_one_message(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine_session, "connect", fail)
    expected = f"error: {error}\n" if str(error) else "interrupted\n"
    assert call("engine") == code
    assert read_output(capsys) == ("", expected)
    assert call("engine", "--json") == code
    out, err = read_output(capsys)
    assert err == expected
    assert json.loads(out) == {
        "format": 1,
        "error": {"code": code, "message": str(error) or "interrupted", "fix": getattr(error, "fix", "")},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pickle", "configs/absent.yaml"), 2, "configs/absent.yaml: not found"),
        (("pickle", "configs/wrong.yaml"), 2, r"configs/wrong.yaml:1: nmae: .*name"),
        (("validate", "dist/absent"), 2, "not a config or a folder"),
        (
            ("validate", "configs/small.yaml"),
            2,
            "no pickle has been built here; run `make pickle CONFIG=configs/small.yaml` first",
        ),
        (("verify", "configs/small.yaml"), 2, "no pickle has been built here"),
        (("render", "configs/empty.yaml"), 2, r"bundle.json: "),
        (("stand-in", "--python", "3.9"), 2, "choose one of 3.10, 3.11, 3.12, 3.13"),
        (("sandbox", "--env-file", "Makefile"), 2, "Makefile: already exists, and would be removed at the end"),
        (("sandbox", "--env-file", "absent/env"), 2, "absent: is not a folder; create it"),
    ],
    ids=str,
)
def test_an_invalid_argument_is_reported_with_its_path(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    (project / "configs" / "wrong.yaml").write_text("nmae: wrong\n")
    (project / "configs" / "bundles" / "empty").mkdir()
    (project / "configs" / "empty.yaml").write_text(CONFIG.replace("small", "empty"))
    before = sorted(project.rglob("*"))
    assert call(*arguments) == code
    out, err = read_output(capsys)
    assert out == ""
    assert err.startswith("error: ")
    assert re.search(message, err), err
    assert sorted(project.rglob("*")) == before, "nothing is written"


def test_a_missing_engine_is_one_message_and_exit_code_3(project: Path) -> None:
    code, out, err = run("pickle", "configs/small.yaml", cwd=project, DOCKER_HOST=f"unix://{project}/no.sock")
    assert (code, out) == (3, "")
    assert err.startswith("error: ")
    assert f"DOCKER_HOST=unix://{project}/no.sock does not answer: [Errno 2] No such file or directory; start it" in err
    assert len(err.splitlines()) == 1
    assert not (project / "dist").exists()


def test_a_removed_current_folder_is_an_ordinary_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert call("status") == 2
    assert read_output(capsys) == (
        "",
        "error: the current folder no longer exists; change to another, then run this again\n",
    )


def test_a_bug_is_written_to_a_file_and_shown_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(engine_session, "connect", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert call("engine") == 70
    out, err = read_output(capsys)
    (log,) = tmp_path.iterdir()
    assert out == ""
    assert err == (f"error: internal error (ZeroDivisionError: by nought); report it with the details in {log}\n")
    text = log.read_text(encoding="utf-8")
    assert text.startswith(f"numerai-builder {builder.__version__}, Python 3.")
    assert "Traceback (most recent call last)" in text
    assert "ZeroDivisionError: by nought" in text


def test_a_report_of_an_internal_error_has_no_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "NUMERAI_SECRET_KEY": "secretsecret1",
        "NUMERAI_MCP_AUTH": "Token PUBLICPUBLIC$anothersecret2",
        "GITHUB_TOKEN": "thirdsecret3",
    }
    unset = (f"https://me:fourthsecret4@host/x {'Z1B2' * 16}", "fourthsecret4", "Z1B2" * 16, "anothersecret2")

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(" ".join([*secrets.values(), unset[0]]))

    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine_session, "connect", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert call("engine", "--json") == 70
    (log,) = tmp_path.iterdir()
    for text in (*read_output(capsys), log.read_text(encoding="utf-8")):
        assert "ZeroDivisionError" in text
        for secret in (*secrets.values(), *unset[1:]):
            assert secret not in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO, errno.EMFILE])
def test_an_error_of_the_operating_system_is_an_ordinary_error(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/the/file")

    monkeypatch.setattr(engine_session, "connect", fail)
    assert call("engine") == 2
    assert read_output(capsys)[1].startswith(f"error: /the/file: {os.strerror(number)}; free some space or fix")


# ---- errors for programs

JSON_COMMANDS = [
    ("pickle", "--json", "configs/other.yaml"),
    ("validate", "--json", "configs/other.yaml"),
    ("verify", "--json", "configs/other.yaml"),
    ("check", "--json", "no.pkl"),
    ("adopt", "--json", "no.pkl"),
    ("upload", "--json", "configs/other.yaml"),
    ("rollback", "--json", "configs/other.yaml"),
    ("pin", "--json", "configs/other.yaml"),
    ("init", "--json", "--from", "no.bundle.zip"),
    ("engine", "--json"),
    ("stand-in", "--json", "--python", "2.7"),
    ("render", "--json", "configs/other.yaml"),
    ("sandbox", "--json", "--env-file", "absent/env"),
    ("models", "--json"),
    ("status", "--json", "slot"),
    ("pickles", "--json"),
    ("logs", "--json", "slot"),
    ("why", "--json", "slot"),
    ("trigger", "--json", "slot"),
    ("assign", "--json", "slot", "pickle"),
    ("disable", "--json", "slot"),
    ("label", "--json", "pickle", "text"),
    ("create-model", "--json", "slot"),
    ("download", "--json", "slot"),
    ("credentials", "--json"),
    ("data", "--json"),
    ("data-versions", "--json"),
    ("query", "--json", "{"),
    ("images", "--json"),
    ("bundle", "show", "--json", "no.bundle.zip"),
    ("bundle", "convert", "--json", "no.bundle.zip"),
]
OWN_OBJECT = {"doctor", "bundle check"}
"""They print an object of their python also on failure."""


def test_every_command_with_json_is_tried() -> None:
    with_json = {name for name in parser.names() if any("--json" in item.opts for item in parser.load(name).params)}
    tried = {" ".join(words[: 2 if words[0] == "bundle" else 1]) for words in JSON_COMMANDS}
    assert with_json == tried | OWN_OBJECT


@pytest.mark.parametrize("arguments", JSON_COMMANDS, ids=lambda words: words[0])
def test_json_prints_one_error_object_on_failure(
    project: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = errors.EngineError("no engine answers; start it")
    monkeypatch.setattr(engine_session, "connect", lambda *_, **__: raise_(silent))
    monkeypatch.setenv("NUMERAI_API_URL", "nowhere")
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY", "NUMERAI_MCP_AUTH"):
        monkeypatch.setenv(name, "")
    code = call(*arguments)
    out, err = read_output(capsys)
    assert code in {2, 3, 4}
    report = json.loads(out)
    assert set(report) == {"format", "error"}
    assert (report["format"], report["error"]["code"]) == (1, code)
    assert report["error"]["message"] in err
    assert report["error"]["fix"]
    assert report["error"]["message"].endswith(report["error"]["fix"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json",),
        ("no-such", "--json"),
        ("pickle", "--json", "a", "b"),
        ("why", "--json"),
        ("render", "--nothing", "--json"),
    ],
    ids=" ".join,
)
def test_json_prints_usage_errors_too(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    out, err = read_output(capsys)
    error = json.loads(out)["error"]
    assert (error["code"], error["fix"].startswith("see `numerai-builder")) == (2, True)
    assert err.startswith("Usage: numerai-builder")
    assert err.endswith(f"error: {error['message']}\n")


def test_after_two_dashes_nothing_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pickle", "--", "--json") == 2
    assert read_output(capsys)[0] == ""


def test_json_prints_a_bug_and_a_full_disk_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for error, code, text in (
        (ZeroDivisionError("by nought"), 70, "internal error"),
        (OSError(errno.ENOSPC, "No space left on device", "/the/file"), 2, "/the/file: No space left on device"),
    ):
        monkeypatch.setattr(engine_session, "connect", lambda *_, error=error, **__: raise_(error))
        assert call("engine", "--json") == code
        report = json.loads(read_output(capsys)[0])["error"]
        assert (report["code"], report["message"].startswith(text), bool(report["fix"])) == (code, True, True)


def raise_(error: BaseException) -> None:
    raise error


# ---- interrupts and closed streams


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_130_and_one_line(project: Path, number: signal.Signals) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(project / "deaf.sock"))
        deaf.listen()
        with start("engine", cwd=project, DOCKER_HOST=f"unix://{project}/deaf.sock") as process:
            connection, _ = deaf.accept()
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
            connection.close()
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


PRINTING = """
import sys
from pathlib import Path
from builder.cli import main, parser
from builder.cli import engine_session as session
from tests.support.fake_engine import FakeEngine
session.connect = lambda *_, **__: FakeEngine(Path("unused"))
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command_name", "unbuffered", "code"),
    [
        ("--help", "", 0),
        ("engine", "", 0),
        # Incomplete output must not end with 0.
        ("engine", "1", 141),
    ],
)
def test_a_closed_pipe_prints_no_error(command_name: str, unbuffered: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = fork_server.run(
        [sys.executable, "-c", PRINTING, command_name],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (code, "")


def _run_bare(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder that has builder/, with the packages on PYTHONPATH only."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    bare = [sys.executable, "-S", "-m", "builder", *arguments]
    return subprocess.run(
        bare, cwd=folder, env={**variables, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the package, the repository's docker/ and a bundle: no virtual environment."""
    for name in ("builder", "docker"):
        shutil.copytree(ROOT / name, tmp_path / name)
    bundles.write_bundle(tmp_path / "small")
    return tmp_path


def test_a_python_without_the_packages_restarts_in_the_venv_of_the_checkout(copied: Path) -> None:
    """Messages suggest `python -m builder ...`, which runs the first Python on PATH."""
    python = copied / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor argument; do echo "$argument"; done\n')
    python.chmod(0o755)
    result = _run_bare(copied, "status", "my slot")
    assert (result.returncode, result.stdout) == (0, "-m\nbuilder\nstatus\nmy slot\n")


def _install_base(folder: Path) -> Path:
    """Create a folder for PYTHONPATH with the packages that are installed without an extra."""
    site = folder / "site"
    site.mkdir()
    dependencies = (
        *("annotated_types", "markdown_it", "mdurl", "pydantic_core", "pygments", "shellingham", "annotated_doc"),
        *("dateutil", "pytz", "six.py", "tzdata"),  # of pandas
    )
    for name in (*requirements.BASE, *dependencies, "typing_extensions.py", "typing_inspection", "numpy.libs"):
        for path in Path(np.__file__).parents[1].glob(name):
            (site / path.name).symlink_to(path)
    return site


def test_missing_packages_are_reported_with_the_command_that_installs_them(copied: Path) -> None:
    site = _install_base(copied)
    assert _run_bare(copied, "--version", PYTHONPATH=str(site)).stdout == f"numerai-builder {builder.__version__}\n"
    assert _run_bare(copied, "--help", PYTHONPATH=str(site)).returncode == 0
    # docker is listed too, although the folder docker/ is importable under that name.
    names = ", ".join(name for name in requirements.BUILD if name not in requirements.BASE)
    for path, absent in ((str(site), names), ("", "typer")):
        result = _run_bare(copied, "pickle", PYTHONPATH=path)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == (
            f"error: this command needs packages that are not installed in this Python ({sys.executable}): {absent}; "
            'run `make setup` in a checkout, or: pip install "./path/to/checkout[build]"\n'
        )


def test_bundles_are_shown_and_checked_without_the_extra(copied: Path) -> None:
    site = _install_base(copied)
    for command_name in ("show", "check"):
        result = _run_bare(copied, "bundle", command_name, "small", PYTHONPATH=str(site))
        assert result.returncode == 0, result.stderr
    quantiles = np.sort(np.random.default_rng(1).normal(size=(5, 4)), axis=0)
    quantiles_node = model.make_node(
        "quantiles", quantiles=quantiles, references=np.linspace(0, 1, 5), normal=True, sources=(0,)
    )
    network = bundles.make_network(3)
    network = dataclasses.replace(network, layers=(network.layers[0], quantiles_node, network.layers[1]))
    bundles.write_bundle(copied / "quantiles", bundles.make_bundle(network=network))
    result = _run_bare(copied, "bundle", "check", "quantiles", PYTHONPATH=str(site))
    assert (result.returncode, result.stdout) == (2, "")
    assert "scipy is not installed" in result.stderr
    assert "pip install scipy" in result.stderr


def test_the_required_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = {"dotenv": "python-dotenv", "graphql": "graphql-core", "yaml": "pyyaml"}
    for modules, listed in (
        (requirements.BASE, project["dependencies"]),
        (requirements.BUILD, project["optional-dependencies"]["build"]),
    ):
        assert sorted(distributions.get(name, name) for name in modules) == [
            re.split(r"[<>=]", item)[0] for item in listed
        ]
    locked = re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements" / "run.txt").read_text())
    assert {distributions.get(name, name) for name in requirements.ALL} <= set(locked), "`make setup` installs them too"


def test_a_full_output_is_not_blamed_on_a_folder(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "builder", "render", "configs/small.yaml"],
            cwd=command.write_project(tmp_path / "project"),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 2
    assert "error: cannot write the output, or a file in" in result.stderr
    assert "Traceback" not in result.stderr


CLOSED = """
import os, sys
os.close(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-m", "builder", *sys.argv[2:]])
"""


@pytest.mark.parametrize(
    ("number", "arguments", "code", "message"),
    [
        (0, ("query", "-"), 2, "error: the query: line 1, column 1"),
        (1, ("render", "configs/small.yaml"), 0, ""),
        (2, ("render", "configs/none.yaml"), 2, ""),
    ],
)
def test_a_closed_stream_is_like_an_empty_one(
    tmp_path: Path, number: int, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CLOSED, str(number), *arguments],
        cwd=command.write_project(tmp_path / "project"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(message)
    assert bool(result.stderr) is bool(message)


def test_a_folder_name_that_is_not_text_is_printed_escaped(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    command.write_project(folder)
    code, out, err = run("render", "configs/small.yaml", cwd=folder)
    assert (code, err) == (0, "")
    assert "\\udcff/dist/small/Dockerfile" in out
