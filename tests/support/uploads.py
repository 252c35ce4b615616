"""Create a project with a pickle that can be uploaded: its files say that it was built and validated in an exact image.

The pickle is a few arbitrary bytes, because these tests are about the upload, and the sandbox's validation is scripted.
The image is in a real registry, so that its digest can be resolved.
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
from builder.validate import report
from tests.support import bundles, command, fork_server, http_server, manifests, registry_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox.server import Sandbox
    from builder.sandbox.state import Pickle, SandboxSlot

QUARTER_OF_AN_HOUR = dt.timedelta(minutes=15)
IMAGE, TAG = "numerai_predict_py_3_12", "a78dedd"
_PICKLE = b"a pickle of a few bytes, never loaded: " + bytes(range(256)) * 4


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a config, its bundle and ``dist/small``, and the sandbox it is uploaded to."""

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
        """Return the settings for the sandbox."""
        return {**self.sandbox.create_environment(token), "NUMERAI_REGISTRY": f"{self.registry}/numerai"}

    def start(self, *arguments: str, token: str = "full", **environment: str) -> subprocess.Popen[str]:
        """Start the tool in another process."""
        return command.start(*arguments, cwd=self.root, **{**self.environment(token), **environment})

    def run(self, *arguments: str, token: str = "full", **environment: str) -> tuple[int, str, str]:
        """Run the tool in another process, without its waits; return the exit code, stdout and stderr."""
        return command.run_without_waits(*arguments, cwd=self.root, **{**self.environment(token), **environment})

    def run_in_terminal(self, *arguments: str, typed: str, **environment: str) -> tuple[int, str]:
        """Run the tool in a terminal and type answers; return the exit code and the terminal's content."""
        changes = {**self.environment(), **environment}
        variables = {key: value for key, value in {**os.environ, **changes}.items() if value}
        terminal, child = pty.openpty()
        attributes = termios.tcgetattr(child)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(child, termios.TCSANOW, attributes)
        with fork_server.Popen(
            [sys.executable, "-c", command.WITHOUT_WAITS, *arguments],
            cwd=self.root,
            env={**variables, "PYTHONPATH": str(command.ROOT)},
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
        ) as process:
            os.close(child)
            output = _answer_prompts(terminal, typed.splitlines(keepends=True))
            return process.wait(timeout=120), output

    def upload(self, *arguments: str, slot: str = "fresh", **environment: str) -> tuple[int, str, str]:
        """Upload to a slot with ``--yes``."""
        return self.run("upload", "configs/small.yaml", "--model", slot, "--yes", *arguments, **environment)

    def get_slot(self, name: str = "fresh") -> SandboxSlot:
        """Return a slot of the sandbox."""
        return self.sandbox.state.get_slot(name)

    def list_records(self) -> list[Pickle]:
        """Return the pickles registered under this pickle's hash."""
        return [item for item in self.sandbox.state.list_pickles() if self.sha256[:12] in item.filename]

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
        data: dict[str, Any] = json.loads((self.folder / "receipt.json").read_bytes())
        return data

    def assign_earlier_pickle(self, name: str = "running") -> Pickle:
        """Assign an earlier pickle to a slot and return it."""
        return self.sandbox.state.add_pickle(self.get_slot(name), "11112222-before-0123456789ab.pkl", assign=True)

    def replace_pickle(self, content: bytes) -> None:
        """Replace the pickle, as a build and a validation would."""
        _write_artifact(self.root, content, self.folder, _read_digest(self.folder))

    def use_data_version(self, version: str) -> None:
        """Set a data version in the config, and write a validation for it."""
        path = self.root / "configs" / "small.yaml"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("data_version:")]
        path.write_text("\n".join([*lines, f"data_version: {version}"]) + "\n")
        write_validation(self.folder, artifact.load(self.folder).manifest, data={"version": version})

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest's data."""
        data: dict[str, Any] = json.loads((self.folder / artifact.MANIFEST).read_bytes())
        return data


def _answer_prompts(terminal: int, answers: list[str]) -> str:
    """Type an answer at each prompt, then end the input; return all output."""
    output, remaining = "", [*answers, "\x04"]
    with contextlib.suppress(OSError):
        while select.select([terminal], [], [], 120)[0] and (part := os.read(terminal, 65536)):
            output += part.decode(errors="replace")
            if remaining and re.search(r"(\] |: )$", output):
                os.write(terminal, remaining.pop(0).encode())
    os.close(terminal)
    return output


def create_project(root: Path, sandbox: Sandbox, registry: str, *, pickle: bytes = _PICKLE) -> Project:
    """Write the project and push its image to the registry."""
    digest = registry_images.push_image(registry, f"numerai/{IMAGE}", TAG)
    (root / "configs").mkdir(parents=True)
    (root / "Makefile").touch()  # as in a checkout
    (root / "configs" / "small.yaml").write_text(
        f"name: small\nimage:\n  ref: {registry}/numerai/{IMAGE}:{TAG}\nbundle: bundles/small\n"
    )
    bundles.write_bundle(root / "configs" / "bundles" / "small")
    _write_artifact(root, pickle, root / "dist" / "small", digest)
    return Project(root=root, sandbox=sandbox, registry=registry)


def _read_digest(folder: Path) -> str:
    return manifest.read(folder / artifact.MANIFEST).image.identity


def _write_artifact(root: Path, pickle: bytes, folder: Path, digest: str) -> None:
    loaded = config.load(root / "configs" / "small.yaml")
    plain = manifests.create_manifest(pickle)
    data = dataclasses.replace(
        plain,
        name="small",
        tool=manifest.Tool(version="0", inside=render.hash_entries(render.list_inside_files())),
        image=dataclasses.replace(
            plain.image,
            kind="exact",
            ref=loaded.image.ref,
            base=f"{loaded.image.ref.rpartition(':')[0]}@{digest}",
            identity=digest,
        ),
        bundle=dataclasses.replace(plain.bundle, hash=files.hash_bundle(root / "configs" / "bundles" / "small")),
        config=manifest.ConfigPart(hash=manifest.hash_config(config.select_build_inputs(loaded))),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / artifact.PICKLE).write_bytes(pickle)
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(data))
    write_validation(folder, data)


def write_validation(folder: Path, data: manifest.Manifest, /, **changes: Any) -> None:
    """Write a good ``validation.json``, with changes."""
    content = {
        "format": report.FORMAT,
        "good": True,
        "name": data.name,
        "pickle": data.pickle.sha256,
        "image": {"kind": data.image.kind, "identity": data.image.identity, "ref": data.image.ref, "python": "3.11.2"},
        "data": {"source": "shaped", "rows": 7000, "version": "v5.3"},
        "limits": {"cpus": 1, "memory": 4 << 30, "seconds": 600},
        "checks": [{"name": "entry point", "good": True, "detail": "exit 0"}],
        **changes,
    }
    (folder / artifact.VALIDATION).write_text(json.dumps(content))


def command_line(process: subprocess.Popen[str]) -> bytes:
    """Return the command line of a process, as ``ps`` shows it."""
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
    """The paths of the requests that a server received."""

    requests: list[str] = dataclasses.field(default_factory=list)


def create_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Create a TLS context for a server on localhost; return it and its self-signed certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    out = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject, *out],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@contextlib.contextmanager
def serve_self_signed(folder: Path) -> Iterator[tuple[str, ServerRequests]]:
    """Run an https server with a self-signed certificate; yield its URL and its requests."""
    context, _ = create_certificate(folder)
    received = ServerRequests()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.requests.append(self.path)

    with http_server.serve(Handler, context=context) as listener:
        yield f"https://localhost:{listener.server_address[1]}/", received


@contextlib.contextmanager
def serve_refusing_proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that rejects all connections; yield its address and its requests."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            requests.append(self.requestline)
            self.send_error(403)

        def log_message(self, *_: Any) -> None:
            """Do not log."""

    with http_server.serve(Handler) as listener:
        yield f"127.0.0.1:{listener.server_address[1]}", requests
