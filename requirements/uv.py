"""Run uv with pip's settings, so that a machine needs them only once.

    .venv/bin/python requirements/uv.py ARGUMENT...

uv reads no pip configuration. Indexes, find-links, constraints, certificates, proxy and timeout are passed on through
the environment, where no process list shows a password. A setting of uv's own (UV_...) wins.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

# pip's option: uv's variables. The first is set, unless one of them is.
OWN = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_EXTRA_INDEX_URL", "UV_INDEX"),
    "find-links": ("UV_FIND_LINKS",),
    "constraint": ("UV_CONSTRAINT",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "timeout": ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"),
    "default-timeout": ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"),
}
# Variables of all programs: as for pip, its own setting replaces them.
SHARED = {
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
}


def read_pip_settings() -> dict[str, str]:
    """Return what holds for ``pip install``: its files, then its variables."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for line in listed.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section):
                settings[name.removeprefix(section)] = ast.literal_eval(value)
    return settings


def translate(settings: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """Return the environment for uv."""
    changed = dict(environment)
    for option, names in OWN.items():
        if settings.get(option) and not any(name in environment for name in names):
            separator = "," if option == "find-links" else " "
            changed[names[0]] = separator.join(settings[option].split())
    for option, names in SHARED.items():
        changed |= dict.fromkeys(names, settings[option]) if settings.get(option) else {}
    # pip takes the best version of any index, uv by default those of the first that has the package.
    if "UV_EXTRA_INDEX_URL" in changed or "UV_INDEX" in changed:
        changed.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return changed


if __name__ == "__main__":
    pip = read_pip_settings()
    no_index = ["--no-index"] if pip.get("no-index", "0").lower() in {"1", "true", "yes", "on", "y", "t"} else []
    uv = Path(sys.executable).with_name("uv")
    os.execve(uv, [uv, *sys.argv[1:], *no_index], translate(pip, dict(os.environ)))
