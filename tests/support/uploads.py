"""A project whose pickle is fit to be uploaded: made and validated in an exact image, as far as files can say.

The pickle is a few bytes, forged: these tests are about what becomes of it on the way, and the sandbox's judge is a
scripted one. The image is really in a registry, so that its digest is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import http.server
import json
import os
import pty
import re
import select
import shutil
import ssl
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.build import artifact, manifest, render
from builder.bundle.storage import files
from builder.config import model as config
from tests.support import bundles, command, fork_server, http_server, manifests, registry_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox.server import Sandbox
    from builder.sandbox.state import Pickle, SandboxSlot

QUARTER_OF_AN_HOUR = dt.timedelta(minutes=15)
IMAGE, TAG = "numerai_predict_py_3_11", "a78dedd"
_PICKLE = b"a pickle of a few bytes, never loaded: " + bytes(range(256)) * 4


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a config, its bundle and ``dist/small``, and the stand-in it is uploaded to."""

    root: Path
    sandbox: Sandbox
    registry: str

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self.root / "dist" / "small"

    @property
    def sha256(self) -> str:
        """The pickle's hash."""
        return hashlib.sha256((self.folder / artifact.PICKLE).read_bytes()).hexdigest()

    def environment(self, token: str = "full") -> dict[str, str]:
        """Return the settings under which the tool talks to the stand-in."""
        return {**self.sandbox.environment(token), "NUMERAI_REGISTRY": f"{self.registry}/numerai"}

    def start(self, *arguments: str, token: str = "full", **environment: str) -> subprocess.Popen[str]:
        """Start the tool in a process of its own."""
        return command.start(*arguments, cwd=self.root, **{**self.environment(token), **environment})

    def run(self, *arguments: str, token: str = "full", **environment: str) -> tuple[int, str, str]:
        """Run the tool in a process of its own that does not wait; returns its exit code and what it printed."""
        return command.run_without_waits(*arguments, cwd=self.root, **{**self.environment(token), **environment})

    def run_in_terminal(self, *arguments: str, typed: str, **environment: str) -> tuple[int, str]:
        """Run the tool at a terminal where a person types; returns its exit code and all that the terminal showed."""
        changes = {**self.environment(), **environment}
        kept = {key: value for key, value in {**os.environ, **changes}.items() if value}
        main, other = pty.openpty()
        attributes = termios.tcgetattr(other)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(other, termios.TCSANOW, attributes)
        with fork_server.Popen(
            [sys.executable, "-c", command.WITHOUT_WAITS, *arguments],
            cwd=self.root,
            env={**kept, "PYTHONPATH": str(command.ROOT)},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        ) as process:
            os.close(other)
            shown = _converse(main, typed.splitlines(keepends=True))
            return process.wait(timeout=120), shown

    def upload(self, *arguments: str, slot: str = "fresh", **environment: str) -> tuple[int, str, str]:
        """Upload to a slot, with yes to all questions."""
        return self.run("upload", "configs/small.yaml", "--model", slot, "--yes", *arguments, **environment)

    def get_slot(self, name: str = "fresh") -> SandboxSlot:
        """Return a slot of the stand-in."""
        return self.sandbox.state.get_slot(name)

    def list_records(self) -> list[Pickle]:
        """Return what is registered under this pickle's hash."""
        return [one for one in self.sandbox.state.list_pickles() if self.sha256[:12] in one.filename]

    def log_path(self, slot: str = "fresh") -> Path:
        """Return the path of a slot's log."""
        return self.logs_folder / f"{self.get_slot(slot).id}.jsonl"

    def read_log(self, slot: str = "fresh") -> list[dict[str, Any]]:
        """Return the lines of a slot's log."""
        return [json.loads(line) for line in self.log_path(slot).read_text().splitlines() if line]

    @property
    def logs_folder(self) -> Path:
        """The folder of the slots' logs."""
        return Path(os.environ["XDG_STATE_HOME"], "numerai-builder", "slots")

    def remove_logs(self) -> None:
        """Remove the logs, as on another computer."""
        shutil.rmtree(self.logs_folder, ignore_errors=True)

    def read_receipt(self) -> dict[str, Any]:
        """Return the receipt."""
        found: dict[str, Any] = json.loads((self.folder / "receipt.json").read_bytes())
        return found

    def assign_earlier_pickle(self, name: str = "running") -> Pickle:
        """Have a slot run an earlier pickle; returns that."""
        return self.sandbox.state.add_pickle(self.get_slot(name), "11112222-before-0123456789ab.pkl", assign=True)

    def replace_pickle(self, content: bytes) -> None:
        """Put another pickle in place, as a build and a validation would."""
        _forge(self.root, content, self.folder, _digest(self.folder))

    def use_data_version(self, version: str) -> None:
        """Name a data version in the config, and validate for that, as far as files can say."""
        path = self.root / "configs" / "small.yaml"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("data_version:")]
        path.write_text("\n".join([*lines, f"data_version: {version}"]) + "\n")
        write_validation(self.folder, artifact.load(self.folder).manifest, data={"version": version})

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest's data."""
        found: dict[str, Any] = json.loads((self.folder / artifact.MANIFEST).read_bytes())
        return found


def _converse(terminal: int, answers: list[str]) -> str:
    """Type an answer whenever something is asked, then the end of the input; returns all that was shown."""
    shown, left = "", [*answers, "\x04"]
    with contextlib.suppress(OSError):
        while select.select([terminal], [], [], 120)[0] and (part := os.read(terminal, 65536)):
            shown += part.decode(errors="replace")
            if left and re.search(r"(\] |: )$", shown):
                os.write(terminal, left.pop(0).encode())
    os.close(terminal)
    return shown


def create_project(root: Path, sandbox: Sandbox, registry: str, *, pickle: bytes = _PICKLE) -> Project:
    """Write the project; its image is pushed to the registry."""
    digest = registry_images.push_image(registry, f"numerai/{IMAGE}", TAG)
    (root / "configs").mkdir(parents=True)
    (root / "Makefile").touch()  # as in a checkout
    (root / "configs" / "small.yaml").write_text(
        f"name: small\nimage:\n  ref: {registry}/numerai/{IMAGE}:{TAG}\nbundle: bundles/small\n"
    )
    bundles.write_bundle(root / "configs" / "bundles" / "small")
    _forge(root, pickle, root / "dist" / "small", digest)
    return Project(root=root, sandbox=sandbox, registry=registry)


def _digest(folder: Path) -> str:
    return manifest.read(folder / artifact.MANIFEST).image.identity


def _forge(root: Path, pickle: bytes, folder: Path, digest: str) -> None:
    chosen = config.load(root / "configs" / "small.yaml")
    plain = manifests.create_manifest(pickle)
    made = dataclasses.replace(
        plain,
        name="small",
        tool=manifest.Tool(version="0", inside=render.hash_entries(render.list_inside_files())),
        image=dataclasses.replace(
            plain.image,
            kind="exact",
            ref=chosen.image.ref,
            base=f"{chosen.image.ref.rpartition(':')[0]}@{digest}",
            identity=digest,
        ),
        bundle=dataclasses.replace(plain.bundle, hash=files.hash_bundle(root / "configs" / "bundles" / "small")),
        config=manifest.ConfigPart(hash=manifest.hash_config(config.select_build_inputs(chosen))),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / artifact.PICKLE).write_bytes(pickle)
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(made))
    write_validation(folder, made)


def write_validation(folder: Path, made: manifest.Manifest, **changed: Any) -> None:
    """Write a good ``validation.json``, or one that differs."""
    report = {
        "format": 1,
        "good": True,
        "name": made.name,
        "pickle": made.pickle.sha256,
        "image": {"kind": made.image.kind, "identity": made.image.identity, "ref": made.image.ref, "python": "3.11.2"},
        "data": {"source": "shaped", "rows": 7000, "version": "v5.2"},
        "limits": {"cpus": 1, "memory": 4 << 30, "seconds": 600},
        "checks": [{"name": "entry point", "good": True, "detail": "exit 0"}],
        **changed,
    }
    (folder / artifact.VALIDATION).write_text(json.dumps(report))


def command_line(process: subprocess.Popen[str]) -> bytes:
    """Return what ``ps`` shows of a process."""
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:  # noqa: PTH123 - of another process
        return file.read()


def run_python(program: str, root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python with the tool on its path."""
    return fork_server.run(
        [sys.executable, "-c", program, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(command.ROOT), **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@dataclass
class ServerRequests:
    """What a server heard."""

    requests: list[str] = dataclasses.field(default_factory=list)


def create_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server of this computer speaks TLS with, and its certificate, which nobody else vouches for."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    named = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    out = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *named, *out],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@contextlib.contextmanager
def serve_self_signed(folder: Path) -> Iterator[tuple[str, ServerRequests]]:
    """Run an https server whose certificate nobody vouches for."""
    context, _ = create_certificate(folder)
    heard = ServerRequests()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.requests.append(self.path)

    with http_server.serve(Handler, context=context) as listener:
        yield f"https://localhost:{listener.server_address[1]}/", heard


@contextlib.contextmanager
def serve_refusing_proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that lets nobody through; yields its address and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.requestline)
            self.send_error(403)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http_server.serve(Handler) as listener:
        yield f"127.0.0.1:{listener.server_address[1]}", asked
