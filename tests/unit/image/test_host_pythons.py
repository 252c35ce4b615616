"""Test which Python of a machine is copied into a stand-in image, which packages it loads, and what is copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builder import errors
from builder.image import host_pythons
from tests.support import pythons


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the Pythons of pyenv and uv."""
    pythons.hide(monkeypatch, tmp_path)
    return tmp_path


# ---- finding one


def test_the_newest_release_of_a_version_is_used(folder: Path) -> None:
    for release in ("3.12.9", "3.12.10", "3.12.1", "3.13.2", "3.1.2"):
        pythons.write(folder / "pyenv" / "versions" / release, release)
    python = host_pythons.find("3.12")
    assert (python.release, python.prefix) == ("3.12.10", folder / "pyenv" / "versions" / "3.12.10")
    assert python.program == python.prefix / "bin" / "python3.12"


def test_pythons_of_uv_and_of_the_path_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pythons.write(folder / "uv" / "cpython-3.12.4-linux-x86_64-gnu", "3.12.4")
    assert host_pythons.find("3.12").prefix == folder / "uv" / "cpython-3.12.4-linux-x86_64-gnu"
    pythons.write(folder / "own", "3.10.2")
    monkeypatch.setenv("PATH", f"{folder / 'own' / 'bin'}:{os.environ['PATH']}")
    assert host_pythons.find("3.10").prefix == folder / "own"


@pytest.mark.parametrize(
    ("release", "changes"),
    [
        ("3.11.2", {}),
        ("3.12.0rc1", {}),
        ("3.12.1", {"implementation": "PyPy"}),
        ("3.12.1", {"free_threaded": 1}),
        ("3.12.1", {"base_prefix": "/usr/local"}),
        ("3.12.1", {"configured": "/usr/local"}),
    ],
    ids=["another version", "a release candidate", "PyPy", "free-threaded", "a virtual environment", "moved"],
)
def test_what_cannot_be_copied_is_not_found(folder: Path, release: str, changes: dict[str, Any]) -> None:
    pythons.write(folder / "pyenv" / "versions" / "it", release, **changes)
    with pytest.raises(errors.ImageError, match=r"no Python 3\.12 in a folder of its own"):
        host_pythons.find("3.12")


def test_a_broken_or_incomplete_python_does_not_hide_an_older_one(folder: Path) -> None:
    versions = folder / "pyenv" / "versions"
    for release in ("3.12.1", "3.12.2", "3.12.3", "3.12.4"):
        pythons.write(versions / release, release)
    (versions / "3.12.2" / "conda-meta").mkdir()
    no_module = versions / "3.12.3" / "bin" / "python3.12"
    no_module.write_text(no_module.read_text().replace("exec(", "sys.modules['sqlite3'] = None\nexec("))
    (versions / "3.12.4" / "bin" / "python3.12").write_text("#!/bin/sh\nexit 1\n")
    assert host_pythons.find("3.12").release == "3.12.1"


# ---- the libraries that it loads


def test_libraries_are_read_from_ldd() -> None:
    output = (
        "/opt/p/bin/python3.12:\n"
        "\tlinux-vdso.so.1 (0x00007ffd4a5d9000)\n"
        "\tlibpython3.12.so.1.0 => /opt/p/lib/libpython3.12.so.1.0 (0x00007f2c5c000000)\n"
        "\tlibstdc++.so.6 => /lib/x86_64-linux-gnu/libstdc++.so.6 (0x00007f2c5be1f000)\n"
        "\tlibgone.so.1 => not found\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f2c5c7a6000)\n"
        "/opt/p/lib/python3.12/lib-dynload/_x.so:\n\tstatically linked\n"
    )
    assert host_pythons.parse_libraries(output) == {
        "/opt/p/lib/libpython3.12.so.1.0",
        "/lib/x86_64-linux-gnu/libstdc++.so.6",
    }


def test_owners_are_read_from_dpkg() -> None:
    output = (
        "libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n"
        "libstdc++6: /usr/lib/x86_64-linux-gnu/libstdc++.so.6\n"
        "libone:amd64, libtwo:amd64: /usr/lib/libboth.so\n"
        "diversion by dash from: /bin/sh\n"
    )
    assert list(host_pythons.parse_owners(output)) == [
        ("libc6", "/lib/x86_64-linux-gnu/libc.so.6"),
        ("libstdc++6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"),
        ("libone", "/usr/lib/libboth.so"),
    ]


@pytest.fixture
def with_ctypes(folder: Path) -> host_pythons.HostPython:
    """A Python with the shared library of ctypes, copied from this one."""
    import _ctypes

    prefix = folder / "pyenv" / "versions" / "3.12.1"
    pythons.write(prefix, "3.12.1")
    modules = prefix / "lib" / "python3.12" / "lib-dynload"
    modules.mkdir(parents=True)
    shutil.copy(_ctypes.__file__, modules)
    return host_pythons.HostPython(release="3.12.1", prefix=prefix)


def test_the_packages_of_the_libraries_are_found(with_ctypes: host_pythons.HostPython) -> None:
    packages = host_pythons.find_packages(with_ctypes)
    assert "libc6" in packages
    assert any(name.startswith("libffi") for name in packages)
    assert host_pythons.find("3.12").packages == packages


def test_a_library_without_a_package_is_an_error(
    with_ctypes: host_pythons.HostPython, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = with_ctypes.prefix.glob("lib/python3.12/lib-dynload/*.so")
    listed = subprocess.run(["ldd", module], capture_output=True, text=True, check=True).stdout
    (library,) = (path for path in host_pythons.parse_libraries(listed) if "/libffi" in path)
    shutil.copy(library, folder)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    with pytest.raises(
        errors.ImageError, match=rf"it loads {folder / Path(library).name}, which belongs to no package"
    ):
        host_pythons.find("3.12")


def test_a_machine_without_ldd_is_an_error(
    with_ctypes: host_pythons.HostPython, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(errors.ImageError, match=r"cannot run ldd, .*: install libc-bin and dpkg"):
        host_pythons.find_packages(with_ctypes)


# ---- what is copied


@pytest.fixture
def tree(folder: Path) -> host_pythons.HostPython:
    """A Python in a folder with much else in it, as ``/usr/local`` may be."""
    prefix = folder / "local"
    for name in (
        *(
            "bin/python3.12",
            "bin/pip3.12",
            "bin/docker",
            "bin/python3.13",
            "lib/libpython3.12.so.1.0",
            "lib/libcuda.so",
        ),
        *("lib/python3.13/os.py", "include/python3.12/Python.h", "share/man/man1/python3.12.1"),
        *("lib/python3.12/os.py", "lib/python3.12/json/tool.py", "lib/python3.12/unittest/case.py"),
        *("lib/python3.12/ensurepip/_bundled/pip.whl", "lib/python3.12/lib-dynload/_ssl.so"),
        *("lib/python3.12/test/test_os.py", "lib/python3.12/json/tests/test_json.py", "lib/python3.12/lib-dynload/x.a"),
        *("lib/python3.12/__pycache__/os.pyc", "lib/python3.12/site-packages/numpy/__init__.py"),
        *("lib/python3.12/tkinter/__init__.py", "lib/python3.12/lib-dynload/_tkinter.so"),
        "lib/python3.12/config-3.12-x86_64-linux-gnu/Makefile",
    ):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text(name)
    (prefix / "lib/libpython3.12.so").symlink_to("libpython3.12.so.1.0")
    return host_pythons.HostPython(release="3.12.1", prefix=prefix)


def test_the_interpreter_and_its_library_are_packed(tree: host_pythons.HostPython, tmp_path: Path) -> None:
    host_pythons.pack(tree, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert [entry.name for entry in archive if not entry.isdir()] == [
            "bin/python3.12",
            "lib/libpython3.12.so",
            "lib/libpython3.12.so.1.0",
            "lib/python3.12/ensurepip/_bundled/pip.whl",
            "lib/python3.12/json/tool.py",
            "lib/python3.12/lib-dynload/_ssl.so",
            "lib/python3.12/os.py",
            "lib/python3.12/unittest/case.py",
        ]
        assert archive.getmember("lib/libpython3.12.so").linkname == "libpython3.12.so.1.0"
        file = archive.extractfile("lib/python3.12/os.py")
        assert file is not None
        assert file.read() == b"lib/python3.12/os.py"


def test_the_tar_depends_on_the_contents_only(tree: host_pythons.HostPython, tmp_path: Path) -> None:
    first = host_pythons.pack(tree, tmp_path / "a.tar")
    for path in tree.list_files():
        os.utime(path, (0, 0), follow_symlinks=False)
    (tree.prefix / "lib/python3.12/site-packages/new.py").write_text("")
    assert host_pythons.pack(tree, tmp_path / "b.tar") == first
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    (tree.prefix / "lib/python3.12/os.py").write_text("changed")
    assert host_pythons.pack(tree, tmp_path / "c.tar") != first


def test_a_real_python_is_packed_with_its_standard_library(tmp_path: Path) -> None:
    version, prefix = sysconfig.get_python_version(), Path(sysconfig.get_config_var("prefix"))
    host_pythons.pack(host_pythons.HostPython(release=f"{version}.0", prefix=prefix), tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()
    assert {f"bin/python{version}", f"lib/python{version}/venv/__init__.py"} <= set(names)
    assert not any("site-packages" in name or name.endswith(".pyc") for name in names)
