"""Run a custom bundle in a process of its own, to find out what it needs beyond its contents.

Usage: ``python -B -P trial.py INSIDE FOLDER``. ``INSIDE`` contains the package ``inside``; ``FOLDER`` contains the
bundle's ``bundle.json``, ``arrays.safetensors``, ``code/`` and ``files/``. ``bundle.json`` also has ``importable``, the
top-level modules that the images have, and ``path``, folders that are searched for them last.

Each line of stdin is ``{"number": NUMBER, "dtype": DTYPE}``: predict ``NUMBER.inputs.npy``, float64 (rows, n), whose
features are converted to ``DTYPE`` first, and write ``NUMBER.predictions.npy``, float64 (rows,). Each is answered by a
line of stdout: ``{"error": TEXT, "reads": [[FILE, LINE, TEXT], ...]}``, with an empty error if it was predicted, and
what the code tried to read from outside of the bundle so far.

As in the tournament, there is no network, and the only files are those of the bundle and of the system. This finds
mistakes; it does not protect from hostile code.
"""

from __future__ import annotations

import errno
import importlib
import importlib.machinery
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types
    from collections.abc import Iterable, Sequence

_SYSTEM_FOLDERS = ("/dev", "/etc", "/lib", "/lib64", "/proc", "/sys", "/usr", "/System", "/Library")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_PACKAGE = "*.dist-info"
_CODE = "<numerai-builder/"  # the beginning of the file names of the bundle's code, as inside/custom.py compiles it
_NETWORK_EVENTS = frozenset(
    {"socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname", "socket.sendto"}
)
_PROGRAM_EVENTS = frozenset({"os.exec", "os.posix_spawn", "os.system", "subprocess.Popen"})
_MAX_TEXT = 2000


class _Watch:
    """Denies the code what does not exist in the tournament, and remembers what it asked for.

    Attributes:
        reads: File, line and description of each, in the order of their first occurrence.
    """

    def __init__(self, folder: Path) -> None:
        self.reads: dict[tuple[str, int, str], None] = {}
        self._empty = os.path.join(folder, "empty", "")  # noqa: PTH118 - the working folder, as in process.py
        folders = [str(folder), sys.prefix, sys.base_prefix, *_SYSTEM_FOLDERS]
        folders += [entry for entry in sys.path if entry.endswith(_PACKAGE_FOLDERS) or any(Path(entry).glob(_PACKAGE))]
        self._folders = tuple(os.path.join(name, "") for name in folders)  # noqa: PTH118
        self._suffixes = tuple(importlib.machinery.all_suffixes())
        self._standard_library = os.path.join(os.path.dirname(os.__file__), "")  # noqa: PTH118, PTH120

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle an event of https://docs.python.org/3/library/audit_events.html."""
        if event == "open":
            self._check_open(arguments[0], arguments[2])
        elif event in _NETWORK_EVENTS:
            address = next((item for item in arguments if isinstance(item, tuple)), arguments[:1])
            if isinstance(arguments[-1], (str, bytes)) and event in {"socket.connect", "socket.sendto"}:
                return  # a Unix socket
            self._add(f"connects to {':'.join(map(str, address[:2]))}, but the tournament has no network: read it here")
            raise OSError(errno.ENETUNREACH, "Network is unreachable, as in the tournament")
        elif event in _PROGRAM_EVENTS and self._find_line(direct=True):
            self._add(f"runs a program ({str(arguments[0])[:200]}), which the image may not have: do it in Python")

    def _check_open(self, path: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        try:
            name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - resolve() reads the file system
        except (TypeError, ValueError, OSError):
            return  # open itself raises the error
        # A library may write temporary files, as Keras does when it loads a model.
        is_read = not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        is_here = is_read and name.startswith(self._empty) and not os.path.exists(name)  # noqa: PTH110 - as above
        if not is_here and (name.startswith(self._folders) or name.endswith(self._suffixes)):
            return
        self._add(
            f'opens "{name}", which the image does not have: open it before, outside of the function, and use what it '
            "contains, which is then included"
        )
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    def _add(self, text: str) -> None:
        file, line = self._find_line() or ("code/model.py", 0)
        self.reads[file, line, text[:_MAX_TEXT]] = None

    def _find_line(self, *, direct: bool = False) -> tuple[str, int] | None:
        """Return the innermost line of the bundle's code that runs; ``direct``: None if it calls another package."""
        frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no public way to the frames
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(_CODE):
                return name.removeprefix(_CODE).removesuffix(">"), frame.f_lineno
            is_other = any(part in name for part in _PACKAGE_FOLDERS) or not name.startswith(
                (self._standard_library, "<frozen", __file__)
            )
            if direct and is_other:
                return None
            frame = frame.f_back
        return None


def _hide_packages(importable: Iterable[str]) -> None:
    """Make only these top-level modules importable, besides built-in ones."""
    names = frozenset(importable)

    class ImageFinder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(
            cls, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
        ) -> importlib.machinery.ModuleSpec | None:
            top = fullname.partition(".")[0]
            # The standard library has a module whose name depends on the platform: _sysconfigdata__linux_...
            is_known = top in names or top.startswith("_sysconfigdata")
            return super().find_spec(fullname, path, target) if is_known else None

    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, ImageFinder]


def main(inside: str, folder: Path) -> None:
    """Load the bundle, and predict what stdin asks for."""
    # The user's code may read stdin and print; neither must get between the requests and the answers.
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with open(os.devnull, "r+b") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    header = json.loads((folder / "bundle.json").read_bytes())
    sys.path += [entry for entry in header["path"] if entry not in sys.path]
    _hide_packages([*header["importable"], "inside"])
    # At the end of the path and only during these imports: the folder has other modules, whose names the user's modules
    # may have too.
    sys.path.append(inside)
    custom: Any = importlib.import_module("inside.custom")
    predict_inputs: Any = importlib.import_module("inside.predict_inputs")
    tensors: Any = importlib.import_module("inside.tensors")
    np: Any = importlib.import_module("numpy")
    sys.path.remove(inside)
    arrays = tensors.read(folder / "arrays.safetensors")
    watch = _Watch(folder)
    sys.addaudithook(watch)

    def answer(error: str = "") -> None:
        answers.write(json.dumps({"error": error[:_MAX_TEXT], "reads": list(watch.reads)}) + "\n")
        answers.flush()

    try:
        predict = custom.load_function(header, arrays, folder)
        custom.read_parameters(predict)
    except custom.CustomCodeError as refused:
        answer(str(refused))
        return
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)  # the pickle contains what load returns, but no files
    for line in requests:
        request = json.loads(line)
        inputs = np.load(folder / f"{request['number']}.inputs.npy")
        live, benchmarks = predict_inputs.to_frames(inputs, header["features"], header["benchmarks"])
        live = live.astype(dict.fromkeys(header["features"], request["dtype"]))
        try:
            predictions = predict_inputs.call_predict(predict, live, benchmarks)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            hint = "; the bundle's files exist only during load: read them there" if str(files) in str(error) else ""
            answer(f"{custom.explain_error(error)}{hint}")
        else:
            np.save(folder / f"{request['number']}.predictions.npy", predictions)
            answer()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    sys.stderr.flush()
    # pyarrow's threads sometimes abort the interpreter at its normal exit.
    os._exit(0)
