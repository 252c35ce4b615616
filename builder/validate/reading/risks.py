"""What is dangerous in a pickle: functions that run commands or code, and that use the network or files."""

from __future__ import annotations

import functools
from dataclasses import dataclass

COMMAND, CODE, END = "runs a command", "executes code", "ends or stops a process"
NETWORK, FILES = "uses the network", "uses files"
EFFECTS = (COMMAND, CODE, END, NETWORK, FILES)
_MAX_PARTS, _MAX_LENGTH = 40, 300

_NAMES = {
    COMMAND: """
        os.system os.popen os.startfile os.fork os.forkpty os.putenv os.posix_spawn os.posix_spawnp
        os.execl os.execle os.execlp os.execlpe os.execv os.execve os.execvp os.execvpe
        os.spawnl os.spawnle os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp os.spawnvpe
        subprocess _posixsubprocess pty commands popen2 webbrowser antigravity platform.popen pexpect sh pip
        asyncio.create_subprocess_exec asyncio.create_subprocess_shell distutils.spawn
        multiprocessing.Process multiprocessing.Pool
        """,
    CODE: """
        builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.breakpoint builtins.setattr
        builtins.delattr sys.modules sys.settrace sys.setprofile sys._getframe importlib.import_module
        importlib.reload importlib.__import__ importlib.util runpy imp pkgutil.resolve_name zipimport code codeop
        timeit.timeit timeit.repeat cProfile profile pdb bdb doctest trace marshal types.FunctionType atexit
        ctypes _ctypes cffi gc.get_objects gc.get_referrers operator.methodcaller
        pickle.load pickle.loads pickle.Unpickler _pickle.load _pickle.loads _pickle.Unpickler
        cloudpickle.load cloudpickle.loads dill.load dill.loads joblib.load pandas.read_pickle
        torch.load torch.hub torch.jit.load torch.utils.cpp_extension
        numpy.f2py numpy.testing.runstring numpy.testing._private.utils.runstring
        """,
    END: """
        os.kill os.killpg os.abort os._exit sys.exit builtins.exit builtins.quit
        signal.raise_signal signal.pthread_kill
        """,
    NETWORK: """
        socket _socket ssl socketserver http.client http.server urllib.request urllib3 requests httpx aiohttp
        ftplib smtplib telnetlib poplib imaplib xmlrpc nntplib paramiko websocket websockets
        asyncio.open_connection numerapi boto3 botocore google.cloud huggingface_hub gcsfs s3fs wandb mlflow
        yfinance kaggle curl_cffi
        """,
    FILES: """
        builtins.open io.open _io.open io.FileIO _io.FileIO io.open_code _io.open_code
        os.open os.remove os.unlink os.rename os.replace os.rmdir os.removedirs os.mkdir os.makedirs os.chmod
        os.chown os.link os.symlink os.truncate os.listdir os.scandir os.walk
        shutil tempfile fileinput zipfile tarfile sqlite3 dbm shelve mmap glob
        numpy.load numpy.loadtxt numpy.genfromtxt numpy.fromfile numpy.memmap numpy.save numpy.savez numpy.savetxt
        joblib.dump torch.save cloudpickle.dump pickle.dump
        pandas.read_parquet pandas.read_csv pandas.read_json pandas.read_feather pandas.read_hdf pandas.read_excel
        pandas.read_sql polars.read_parquet polars.read_csv polars.scan_parquet
        pyarrow.parquet pyarrow.feather pyarrow.dataset pyarrow.memory_map
        .to_csv .to_parquet .to_pickle .to_feather .write_text .write_bytes .read_text .read_bytes .tofile
        """,
}
_EFFECTS = {name: effect for effect, names in _NAMES.items() for name in names.split()}


@dataclass(frozen=True, kw_only=True)
class Danger:
    """Something dangerous in a pickle.

    Attributes:
        when: ``load`` or ``call``.
        effect: What it does, one of :data:`EFFECTS` if it is a known function.
        name: The dotted name of the function, or what is called.
        function: The function of the pickle that does it; empty at load.
        position: The byte of the opcode that calls or imports it; -1 if a function of the pickle does.
    """

    when: str
    effect: str
    name: str
    function: str = ""
    position: int = -1

    @property
    def is_severe(self) -> bool:
        """Whether no predict function has a reason for it; some read a file, such as the limits of their container."""
        return self.when == "load" or self.effect != FILES

    def get_rank(self) -> tuple[bool, int]:
        """Return the key to sort by: what happens when it is loaded is first, then commands."""
        return self.when != "load", EFFECTS.index(self.effect) if self.effect in EFFECTS else -1

    def __str__(self) -> str:
        where = f"in {self.function}" if self.position < 0 else f"byte {self.position:,}"
        return f"{self.effect} when it is {self.when}ed: {self.name} ({where})"


@functools.lru_cache(4096)
def find_effect(path: str) -> str | None:
    """Return what a dotted name does, such as ``os.system`` or ``pandas.io.common.os.system``; None if not known."""
    parts = path.split(".")
    if parts[0] in {"posix", "nt"}:  # what `os` has most of its functions from
        parts[0] = "os"
    if len(parts) > _MAX_PARTS or len(path) > _MAX_LENGTH:
        return CODE  # a chain that no program has: it hides where it ends
    for start in range(len(parts)):
        for end in range(start + 1, len(parts) + 1):
            effect = _EFFECTS.get(".".join(parts[start:end]))
            # Behind the first name, a module is only meant if a part of it is used: `frame.code` is a column.
            if effect and (start == 0 or (end < len(parts) and parts[start - 1]) or end > start + 1):
                return effect
    return None
