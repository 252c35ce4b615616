"""Run uv with the settings of pip, so that a machine is configured once for both.

    .venv/bin/python requirements/uv.py ARGUMENT...

uv does not read the configuration of pip. Indexes, find-links, constraints, certificates, proxy and timeout are passed
as environment variables, so that no process list shows a password. Variables of uv (UV_...) take precedence.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

# pip's option: variables of uv. The first is set, unless one of them is set already.
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_EXTRA_INDEX_URL", "UV_INDEX"),
    "find-links": ("UV_FIND_LINKS",),
    "constraint": ("UV_CONSTRAINT",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "timeout": ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"),
    "default-timeout": ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"),
}
# Variables that many programs read: pip's own setting takes precedence over them.
COMMON_VARIABLES = {
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
}


def read_pip_settings() -> dict[str, str]:
    """Return the settings of ``pip install``: those of its files, overridden by its environment variables."""
    output = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for line in output.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section):
                settings[name.removeprefix(section)] = ast.literal_eval(value)
    return settings


def translate(settings: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """Return the environment for uv: ``environment`` with pip's settings as variables."""
    variables = dict(environment)
    for option, names in UV_VARIABLES.items():
        if settings.get(option) and not any(name in environment for name in names):
            separator = "," if option == "find-links" else " "
            variables[names[0]] = separator.join(settings[option].split())
    for option, names in COMMON_VARIABLES.items():
        variables |= dict.fromkeys(names, settings[option]) if settings.get(option) else {}
    # pip chooses the best version of all indexes, uv by default that of the first index with the package.
    if "UV_EXTRA_INDEX_URL" in variables or "UV_INDEX" in variables:
        variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return variables


if __name__ == "__main__":
    pip = read_pip_settings()
    no_index = ["--no-index"] if pip.get("no-index", "0").lower() in {"1", "true", "yes", "on", "y", "t"} else []
    uv = Path(sys.executable).with_name("uv")
    os.execve(uv, [uv, *sys.argv[1:], *no_index], translate(pip, dict(os.environ)))
