"""Configs: what loads, and the exact words for everything that does not (rows 1 to 13 of what must be survived)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle import post
from builder.config import model as config

REPOSITORY = Path(__file__).parents[3]
REF = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
DIGEST = "sha256:" + "0123456789abcdef" * 4
SAID_OF_SECRETS = (
    "a secret does not belong in a config; use the environment (NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY), "
    "and if this file was ever shared, make a new key"
)
MINIMAL = f"name: mlp\nimage: {{ref: {REF}}}\nbundle: bundles/mlp\n"
KEYS = "name, image, bundle, post, data_version, validate, upload"
A_NUMBER = "write a number like 12, 0.5 or 1.0e-3"
NO_TWO = "one mapping (key: value) is expected"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "models"
    (root / "configs" / "bundles" / "mlp").mkdir(parents=True)
    return root


def write(root: Path, text: str | bytes, name: str = "mlp.yaml") -> Path:
    path = root / "configs" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults_of(path: Path) -> list[str]:
    """What load says, each fault without the folder that it was tried in."""
    with pytest.raises(errors.ConfigError) as raised:
        config.load(path)
    return [fault.replace(f"{path}:", "FILE:").replace(str(path.parents[1]), "ROOT") for fault in raised.value.problems]


def change(key: str, value: str) -> str:
    """The minimal config with one top-level key set or added, on the last line (3, or 4 if it is new)."""
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:")]
    return "\n".join([*lines, f"{key}: {value}"])


def post_of(step: str) -> str:
    """The minimal config with one step, on line 5."""
    return MINIMAL + f"post:\n  - {step}\n"


# (row of the list, the file, what is said)
BAD: list[tuple[str, str | bytes, list[str]]] = [
    ("1 duplicate key", MINIMAL + "name: mlp\n", ["FILE:4: name: duplicate key, also on line 1; leave one of them"]),
    (
        "2 unknown key, near one",
        MINIMAL + "validate: {row: 6000}\n",
        ["FILE:4: validate.row: unknown key; did you mean rows?"],
    ),
    ("2 unknown key, near none", MINIMAL + "zzz: 1\n", [f"FILE:4: zzz: unknown key; the keys here are {KEYS}"]),
    (
        "3 version unquoted",
        change("image", f"{{ref: {REF}, stand_in: 3.10}}"),
        [("FILE:3: image.stand_in: 3.10 is invalid; expected '3.10', '3.11', '3.12' or '3.13': quote it, \"3.10\"")],
    ),
    (
        "3 version not known",
        change("image", f'{{ref: {REF}, stand_in: "3.1"}}'),
        [
            (
                "FILE:3: image.stand_in: \"3.1\" is invalid; expected '3.10', '3.11', '3.12' or '3.13'; "
                'did you mean "3.13"?'
            )
        ],
    ),
    (
        "4 a number that reads as text",
        MINIMAL + "validate:\n  limits: {cpus: 1e-1}\n",
        [f'FILE:5: validate.limits.cpus: 1e-1 is not allowed without quotes; {A_NUMBER}, or "1e-1" if it is text'],
    ),
    (
        "4 octal",
        MINIMAL + "validate: {rows: 0123}\n",
        [(f'FILE:4: validate.rows: 0123 is not allowed without quotes; {A_NUMBER}, or "0123" if it is text')],
    ),
    (
        "4 base 60",
        MINIMAL + "validate: {limits: {seconds: 10:00}}\n",
        [
            (
                "FILE:4: validate.limits.seconds: 10:00 is not allowed without quotes; "
                f'{A_NUMBER}, or "10:00" if it is text'
            )
        ],
    ),
    (
        "4 a truth value",
        MINIMAL + "upload: {model: NO}\n",
        ['FILE:4: upload.model: NO is not allowed without quotes; write true or false, or "NO" if it is text'],
    ),
    (
        "5 tab",
        "name: mlp\nimage:\n\tref: x:1\n",
        ["FILE:3: column 1: a tab stands where spaces are expected; indent with spaces"],
    ),
    (
        "5 indent",
        "name: mlp\nimage:\n    ref: x:1\n  stand_in: '3.11'\n",
        ["FILE:4: column 3: the indent fits nothing above (it starts on line 1); indent it like what it belongs to"],
    ),
    (
        "6 alias",
        "name: &n mlp\nimage: {ref: x:1}\nbundle: *n\n",
        [
            "FILE:1: name: anchors (&name) are not allowed; write the value out where it is needed",
            "FILE:3: bundle: aliases (*name) are not allowed; write the value out",
        ],
    ),
    (
        "6 merge key",
        MINIMAL + "validate:\n  <<: {rows: 3}\n",
        ["FILE:5: validate.<<: merge keys are not allowed; write the keys out"],
    ),
    (
        "6 depth",
        "name: " + "[" * 2_000,
        ["FILE:1: column 38: lists and mappings nest deeper than 32; no config needs that"],
    ),
    ("7 two documents", MINIMAL + "---\na: 1\n", [f"FILE:4: column 1: a second document starts here; {NO_TWO}"]),
    ("7 empty", "", [f"FILE:1: the file is empty; {NO_TWO}"]),
    ("7 comments only", "# mlp\n", [f"FILE:1: the file is empty; {NO_TWO}"]),
    (
        "7 byte order mark",
        b"\xef\xbb\xbf" + MINIMAL.encode(),
        [f"FILE:1: starts with a byte order mark; {NO_TWO}, in UTF-8 without that mark"],
    ),
    ("7 a list", "- name: mlp\n", [f"FILE:1: the file holds a list; {NO_TWO}"]),
    ("7 one word", "mlp\n", [f"FILE:1: the file holds a value; {NO_TWO}"]),
    ("7 not UTF-8", b"name: mlp # \xe9\n", ["FILE:1: column 13: byte 0xe9 is not UTF-8; save the file as UTF-8"]),
    ("7 huge", b"#" * 2_000_000, ["FILE:1: the file is larger than 1,000,000 bytes; a config is a page of text"]),
    (
        "8 tag",
        "name: !!python/object/apply:os.system [id]\n" + MINIMAL[10:],
        ["FILE:1: name: the tag !!python/object/apply:os.system is refused; write the plain value"],
    ),
    (
        "9 image id",
        change("image", f"{{ref: '{DIGEST}'}}"),
        [
            (
                f"FILE:3: image.ref: {DIGEST} is an image id or a digest without its repository, which no registry can "
                "look up; write registry/repository:tag or registry/repository@sha256:..., with the repository digest "
                "that `docker image inspect` lists under RepoDigests"
            )
        ],
    ),
    (
        "9 upper case",
        change("image", "{ref: ghcr.io/Numerai/predict:1}"),
        [
            (
                "FILE:3: image.ref: ghcr.io/Numerai/predict:1 has upper case in its repository; "
                "expected lower case, digits, and single . _ - / between them"
            )
        ],
    ),
    (
        "9 neither tag nor digest",
        change("image", "{ref: ghcr.io/numerai/predict}"),
        [
            (
                "FILE:3: image.ref: ghcr.io/numerai/predict names neither a tag nor a digest; "
                "write registry/repository:tag or registry/repository@sha256:..."
            )
        ],
    ),
    (
        "11 name is not the stem",
        change("name", "other"),
        ['FILE:3: name: "other" is not the name of this file; expected "mlp", or rename the file'],
    ),
    (
        "11 name is not safe",
        change("name", "../mlp"),
        ['FILE:3: name: "../mlp" is invalid; expected text of 1 to 40 characters a-z 0-9 _ -'],
    ),
    (
        "11 slot's name too long",
        MINIMAL + "upload: {model: a_slot_with_a_long_name}\n",
        ['FILE:4: upload.model: "a_slot_with_a_long_name" has 23 characters; a slot\'s name has at most 20'],
    ),
    (
        "11 no UUID",
        MINIMAL + "upload: {model: 1234-5678}\n",
        [
            (
                'FILE:4: upload.model: "1234-5678" is not a model id; '
                "expected a UUID (8-4-4-4-12 digits 0-9 a-f) or a slot's name"
            )
        ],
    ),
    (
        "11 a slot's name with a space",
        MINIMAL + "upload: {model: my slot}\n",
        [
            (
                'FILE:4: upload.model: "my slot" is not a slot\'s name; '
                "expected 1 to 20 of A-Z a-z 0-9 _, or a model id (a UUID)"
            )
        ],
    ),
    (
        "12 secret by its key",
        MINIMAL + "upload: {secret_key: hunter2}\n",
        [f"FILE:4: upload.secret_key: {SAID_OF_SECRETS}"],
    ),
    (
        "12 secret by its looks",
        MINIMAL + "upload: {model: ABCDEFGH$IJKLMNOP}\n",
        [f"FILE:4: upload.model: {SAID_OF_SECRETS}"],
    ),
    (
        "12 header",
        MINIMAL + "data_version: Token abcdefgh\n",
        [f"FILE:4: data_version: {SAID_OF_SECRETS}"],
    ),
    (
        "13 missing",
        change("bundle", "bundles/none"),
        [
            (
                'FILE:3: bundle: "bundles/none" is ROOT/configs/bundles/none, which does not exist; '
                "name the folder that holds bundle.json, or a NAME.bundle.zip, relative to ROOT/configs"
            )
        ],
    ),
    (
        "13 a file",
        change("bundle", "mlp.yaml"),
        [
            (
                'FILE:3: bundle: "mlp.yaml" is ROOT/configs/mlp.yaml, which is not a folder or a .zip; '
                "name the folder that holds bundle.json, or a NAME.bundle.zip, relative to ROOT/configs"
            )
        ],
    ),
    (
        "13 out of the root",
        change("bundle", "../../.."),
        [
            (
                'FILE:3: bundle: "../../.." is ABOVE, which is not below ROOT; '
                "every path stays below the folder that holds configs/"
            )
        ],
    ),
    (
        "13 absolute",
        change("bundle", "/bundles/mlp"),
        ['FILE:3: bundle: "/bundles/mlp" is not a relative path; write it relative to ROOT/configs'],
    ),
    (
        "13 parquet is a folder",
        MINIMAL + "validate:\n  data:\n    live: bundles\n",
        [
            (
                'FILE:6: validate.data.live: "bundles" is ROOT/configs/bundles, which is a folder; '
                "name a parquet file, relative to ROOT/configs"
            )
        ],
    ),
    (
        "live data",
        MINIMAL + "validate: {data: live}\n",
        [
            (
                'FILE:4: validate.data: "live" (data fetched from the tournament) comes with a later version; '
                'write "shaped", or a mapping with the keys live, benchmarks'
            )
        ],
    ),
    (
        "rows",
        MINIMAL + "validate: {rows: 0}\n",
        ["FILE:4: validate.rows: 0 is invalid; expected an integer from 1 to 1,000,000"],
    ),
    (
        "cpus",
        MINIMAL + "validate: {limits: {cpus: 0}}\n",
        ["FILE:4: validate.limits.cpus: 0 is invalid; expected a number above 0 and at most 64"],
    ),
    (
        "memory without a unit",
        MINIMAL + "validate: {limits: {memory: 4}}\n",
        ["FILE:4: validate.limits.memory: 4 is invalid; expected an amount of memory, like 4g or 512m"],
    ),
    (
        "memory too small",
        MINIMAL + "validate: {limits: {memory: 63m}}\n",
        ['FILE:4: validate.limits.memory: "63m" is invalid; expected from 64m to 1024g'],
    ),
    (
        "data version",
        MINIMAL + "data_version: 5.2\n",
        ["FILE:4: data_version: 5.2 is invalid; expected text like v5.2"],
    ),
    (
        "step",
        MINIMAL + "post:\n  - rank: {}\n  - rnk: {}\n",
        ["FILE:6: post[1].rnk: unknown key; did you mean rank?"],
    ),
    (
        "gaussianize",
        post_of("gaussianize: {scope: eras}"),
        ["FILE:5: post[0].gaussianize.scope: \"eras\" is invalid; expected 'era' or 'frame'; did you mean \"era\"?"],
    ),
    (
        "standardize",
        post_of("standardize: {ddof: 1}"),
        ["FILE:5: post[0].standardize.ddof: unknown key; the keys here are scope"],
    ),
    (
        "neutralize to nothing",
        post_of("neutralize: {proportion: 0.5}"),
        ["FILE:5: post[0].neutralize: has no columns; expected one of features, group, benchmarks"],
    ),
    (
        "neutralize to two sorts",
        post_of("neutralize: {features: [a], group: medium}"),
        ["FILE:5: post[0].neutralize: has features and group; expected one of features, group, benchmarks"],
    ),
    (
        "neutralize to a column twice",
        post_of("neutralize: {benchmarks: [a, b, a]}"),
        ["FILE:5: post[0].neutralize: duplicates in benchmarks: a; list each once"],
    ),
    (
        "neutralize to another column",
        post_of("neutralize: {features: [a, era, target_x]}"),
        ["FILE:5: post[0].neutralize: era, target_x cannot be neutralised to; expected features"],
    ),
    (
        "neutralize, an empty list",
        post_of("neutralize: {features: []}"),
        ["FILE:5: post[0].neutralize.features: a list is invalid; expected a list of 1 to 100,000 items"],
    ),
    (
        "neutralize, one name",
        post_of("neutralize: {features: a, proportion: 2, scope: row}"),
        [
            'FILE:5: post[0].neutralize.features: "a" is invalid; expected a list',
            "FILE:5: post[0].neutralize.proportion: 2 is invalid; expected a number from 0 to 1",
            "FILE:5: post[0].neutralize.scope: \"row\" is invalid; expected 'era' or 'frame'",
        ],
    ),
    (
        "neutralize to a group without its file",
        post_of("neutralize: {group: medium}"),
        [
            (
                'FILE:5: post[0].neutralize.group: "medium" is a feature set, and neither ROOT/v5.2/features.json nor '
                "ROOT/features.json is there to say which features it has; fetch it (numerapi.NumerAPI()."
                "download_dataset('v5.2/features.json', 'v5.2/features.json')), or name them: features: [...]"
            )
        ],
    ),
    (
        "blend",
        post_of("blend: {benchmrk: a, weight: 1.5, transform: ranks}"),
        [
            "FILE:5: post[0].blend.benchmark: missing; expected text of 1 to 200 characters, none a control character",
            "FILE:5: post[0].blend.benchmrk: unknown key; did you mean benchmark?",
            "FILE:5: post[0].blend.weight: 1.5 is invalid; expected a number from 0 to 1",
            (
                "FILE:5: post[0].blend.transform: \"ranks\" is invalid; expected 'rank', 'gaussian' or 'raw'; "
                'did you mean "rank"?'
            ),
        ],
    ),
    (
        "clip, the wrong way round",
        post_of("clip: {low: 1, high: 0}"),
        ["FILE:5: post[0].clip: low is 1 and high is 0; expected low to be below high"],
    ),
    (
        "clip, no number",
        post_of("clip: {low: .inf, high: a}"),
        [
            f'FILE:5: post[0].clip.low: .inf is not allowed without quotes; {A_NUMBER}, or ".inf" if it is text',
            'FILE:5: post[0].clip.high: "a" is invalid; expected a number from -1,000,000,000 to 1,000,000,000',
        ],
    ),
    (
        "a path that the file system cannot take",
        MINIMAL.replace("bundle: ", 'bundle: "\\ud800" # ') + 'validate: {data: {live: "\\0"}}\n',
        [
            "FILE:3: bundle: the text has a control character in it; remove it",
            "FILE:4: validate.data.live: the text has a control character in it; remove it",
        ],
    ),
    (
        "nothing bounds the result",
        MINIMAL + "post:\n  - rank: {}\n  - neutralize: {features: [a]}\n  - standardize: {}\n",
        [
            (
                "FILE:7: post[2]: no step after standardize limits the predictions to [0, 1], which the tournament "
                "requires; add `- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`"
            )
        ],
    ),
    (
        "a clip that does not bound it",
        post_of("clip: {low: 1.5, high: 2}"),
        [
            (
                "FILE:5: post[0]: no step after clip limits the predictions to [0, 1], which the tournament "
                "requires; add `- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`"
            )
        ],
    ),
    (
        "everything at once, in the order of the file",
        """\
        name: Mlp
        image: {rf: a}
        validate:
          data: {live: 3}
          rows: many
        post: rank
        """,
        [
            'FILE:1: name: "Mlp" is invalid; expected text of 1 to 40 characters a-z 0-9 _ -',
            "FILE:1: bundle: missing; expected a path relative to this file or a mapping with the keys url, sha256",
            "FILE:2: image.ref: missing; expected an image reference (registry/repository:tag, or default)",
            "FILE:2: image.rf: unknown key; did you mean ref?",
            'FILE:4: validate.data.live: 3 is invalid; expected a path relative to this file: quote it, "3"',
            'FILE:5: validate.rows: "many" is invalid; expected an integer from 1 to 1,000,000',
            'FILE:6: post: "rank" is invalid; expected a list',
        ],
    ),
]


@pytest.mark.parametrize(("text", "said"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_bad_file_is_refused_in_these_words(root: Path, text: str | bytes, said: list[str]) -> None:
    path = write(root, textwrap.dedent(text) if isinstance(text, str) else text)
    above = str(root.parents[1])
    assert faults_of(path) == [fault.replace("ABOVE", above) for fault in said]


def test_example_loads_as_it_is_printed(root: Path) -> None:
    path = write(root, (REPOSITORY / "configs" / "mlp.yaml").read_bytes())
    assert config.load(path) == config.Config(
        name="mlp",
        image=config.ImageConfig(ref=REF, stand_in="3.11"),
        bundle=root / "configs" / "bundles" / "mlp",
        post=(post.make_step("rank", scope="era", ties="average"),),
        data_version="v5.2",
        validate=config.ValidateConfig(
            data="shaped", rows=6_000, limits=config.LimitsConfig(cpus=1.0, memory=4 << 30, seconds=600)
        ),
        upload=config.UploadConfig(model="my_slot"),
        file=root / "configs" / "mlp.yaml",
        root=root,
    )


def test_three_keys_are_enough(root: Path) -> None:
    loaded = config.load(write(root, MINIMAL))
    assert (loaded.post, loaded.upload, loaded.data_version) == (None, None, "v5.2")
    assert loaded.validate == config.ValidateConfig()
    assert loaded.image == config.ImageConfig(ref=REF)


def test_root_is_above_the_nearest_configs_folder(root: Path) -> None:
    inner = root / "configs" / "mine" / "configs" / "deep"
    (inner / "bundle").mkdir(parents=True)
    path = inner / "a.yaml"
    path.write_text(f"name: a\nimage: {{ref: {REF}}}\nbundle: bundle\n")
    assert config.load(path).root == root / "configs" / "mine"


def test_file_in_no_configs_folder(tmp_path: Path) -> None:
    path = tmp_path / "mlp.yaml"
    path.write_text(MINIMAL)
    where = path.resolve()
    with pytest.raises(errors.ConfigError) as raised:
        config.load(path)
    said = f"{where} is in no folder named configs; move it into one: what holds that folder is the root of all paths"
    assert raised.value.problems == (f"{path}:1: {said}",)


def test_relative_path_of_the_config(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, MINIMAL)
    monkeypatch.chdir(root)
    loaded = config.load(Path("configs/mlp.yaml"))
    assert loaded.bundle == root / "configs" / "bundles" / "mlp"
    monkeypatch.chdir(root / "configs")
    assert config.load(Path("mlp.yaml")) == loaded


def test_bundle_behind_a_link_out_of_the_root(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "configs" / "bundles" / "link").symlink_to(outside)
    (fault,) = faults_of(write(root, change("bundle", "bundles/link")))
    assert fault.startswith(f'FILE:3: bundle: "bundles/link" is {outside}, which is not below ROOT;')


def test_links_that_go_in_circles(root: Path) -> None:
    (root / "configs" / "bundles" / "a").symlink_to("b")
    (root / "configs" / "bundles" / "b").symlink_to("a")
    (fault,) = faults_of(write(root, change("bundle", "bundles/a")))
    assert "which does not exist" in fault


def test_parquet_files_are_absolute_and_need_not_be_there_yet(root: Path) -> None:
    loaded = config.load(
        write(root, MINIMAL + "validate: {data: {live: ../data/live.parquet, benchmarks: b.parquet}}\n")
    )
    assert loaded.validate.data == config.LivePaths(
        live=root / "data" / "live.parquet", benchmarks=root / "configs" / "b.parquet"
    )


@pytest.mark.parametrize(
    ("memory", "size"), [("4g", 4 << 30), ("512m", 512 << 20), ("1.5G", 3 << 29), ("65536k", 64 << 20)]
)
def test_memory_in_units_of_docker(root: Path, memory: str, size: int) -> None:
    assert (
        config.load(write(root, MINIMAL + f"validate: {{limits: {{memory: {memory}}}}}\n")).validate.limits.memory
        == size
    )


@pytest.mark.parametrize("model", ["a", "my_slot", "x" * 20, "12345678-90ab-cdef-1234-567890ABCDEF"])
def test_slots_and_model_ids(root: Path, model: str) -> None:
    loaded = config.load(write(root, MINIMAL + f"upload: {{model: {model}}}\n"))
    assert loaded.upload == config.UploadConfig(model=model)


def test_no_such_file_names_those_that_are_there(root: Path) -> None:
    write(root, MINIMAL)
    with pytest.raises(errors.ConfigError, match=r"no such file; name one that is in .*configs: mlp\.yaml"):
        config.load(root / "configs" / "mpl.yaml")


def test_no_file_at_all(root: Path) -> None:
    os.mkfifo(root / "configs" / "pipe.yaml")
    for path, said in ((root / "configs", "is a folder"), (root / "configs" / "pipe.yaml", "is not a file")):
        with pytest.raises(errors.ConfigError, match=said):
            config.load(path)
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        config.load(Path("configs/\0.yaml"))
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        config.load(root / "configs" / ("x" * 5_000))


SECRET = "hunter2hunter2"
TOKEN = "ABCDEFGH1234$" + "Z9" * 32
HIDING_PLACES = [
    f"api_key: {SECRET}",
    f"API-KEY: {SECRET}",
    f"upload: {{token: {SECRET}}}",
    f"upload: {{my_password: [{SECRET}]}}",
    f"upload: {{model: '{TOKEN}'}}",
    f"'{TOKEN}': 1",
    f"post: ['Token {SECRET}']",
    f"credentials: {SECRET}\nimage: {{ref: {SECRET}}}",
    f"credentials: {SECRET}\nvalidate: {{data: {SECRET}, rows: {SECRET}}}",
    f"token: &{SECRET} a\nbundle: *{SECRET}",
    f"token: !{SECRET} {SECRET}",
    f"token: {SECRET}\ntoken: {SECRET}",
    f"token: '{SECRET}",
    f"token: [{SECRET}",
    f"token: {SECRET}: {SECRET}",
    f"upload: 1\nupload: {{token: {SECRET}}}",
    f"bundle: bundles/{SECRET}\nsecret: {SECRET}",
]


@pytest.mark.parametrize("text", HIDING_PLACES)
def test_secret_is_never_said(root: Path, text: str) -> None:
    said = "\n".join(faults_of(write(root, f"name: mlp\n{text}\n")))
    assert SECRET not in said
    assert TOKEN not in said
    assert TOKEN[13:40] not in said


@pytest.mark.parametrize("value", ["0123", "12345678", "12:30:45", "1e-9"])
def test_secret_that_reads_as_a_number_is_never_said(root: Path, value: str) -> None:
    said = "\n".join(faults_of(write(root, MINIMAL + f"upload: 1\ntoken: {value}\ndata_version: {value}\n")))
    assert value not in said
    assert f"FILE:5: token: {SAID_OF_SECRETS}" in said


def test_comment_validate_and_upload_do_not_change_what_a_build_depends_on(root: Path) -> None:
    first = config.select_build_inputs(config.load(write(root, MINIMAL)))
    more = "# why\nvalidate: {rows: 3}\nupload: {model: x}\ndata_version: v6\n"
    assert config.select_build_inputs(config.load(write(root, MINIMAL + more))) == first
    assert first == {"image": {"ref": REF, "stand_in": None}, "post": None}


def test_defaults_of_a_step_are_what_a_build_depends_on(root: Path) -> None:
    inputs = config.select_build_inputs(config.load(write(root, MINIMAL + "post: [rank: {}]\n")))
    assert inputs["post"] == [{"rank": {"scope": "era", "ties": "average"}}]
    assert config.select_build_inputs(config.load(write(root, MINIMAL + "post: []\n")))["post"] == []


def test_a_feature_group_is_its_names_in_all_that_a_build_depends_on(root: Path) -> None:
    (root / "v5.2").mkdir()
    sets = root / "v5.2" / "features.json"
    sets.write_text('{"feature_sets": {"small": ["a", "b"], "medium": ["a", "b", "c"]}, "targets": []}')
    path = write(root, MINIMAL + "post:\n  - neutralize: {group: small, proportion: 0.5}\n  - rank: {}\n")
    loaded = config.load(path)
    assert loaded.post == (post.make_step("neutralize", features=("a", "b"), proportion=0.5), post.make_step("rank"))
    first = config.select_build_inputs(loaded)
    assert first["post"][0] == {"neutralize": {"features": ["a", "b"], "proportion": 0.5, "scope": "era"}}
    sets.write_text('{"feature_sets": {"small": ["a", "b"], "medium": ["x"]}, "more": {}}')
    assert config.select_build_inputs(config.load(path)) == first, "another set changed"
    sets.write_text('{"feature_sets": {"small": ["a", "c"]}}')
    assert config.select_build_inputs(config.load(path)) != first
    sets.write_text('{"feature_sets": {"smoll": ["a", "c"]}}')
    assert faults_of(path) == [
        'FILE:5: post[0].neutralize.group: "small" is not a feature set of ROOT/v5.2/features.json; did you mean smoll?'
    ]


def test_whether_a_lone_blend_is_bounded_depends_on_the_model(root: Path) -> None:
    path = write(root, MINIMAL + "post:\n  - blend: {benchmark: a, transform: raw}\n")
    assert config.load(path).post == (post.make_step("blend", benchmark="a", transform="raw"),)


def test_committed_schema_is_up_to_date() -> None:
    committed = (REPOSITORY / "configs" / "schema.json").read_text()
    assert committed == config.schema_text(), "remake it: python -m builder.config.model > configs/schema.json"


def test_schema_is_one_and_takes_every_example() -> None:
    schema = json.loads(config.schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in (REPOSITORY / "configs").glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_schema_refuses_what_load_refuses() -> None:
    schema = json.loads(config.schema_text())
    good = yaml.safe_load(MINIMAL)
    jsonschema.validate(good, schema)
    bads: list[dict[str, object]] = [
        {"zzz": 1},
        {"name": "A"},
        {"image": {}},
        {"validate": {"rows": 0}},
        {"validate": {"limits": {"cpus": 0}}},
        {"validate": {"limits": {"memory": 4}}},
        {"post": [{"rank": {}, "x": {}}]},
        {"post": [{}]},
        {"post": [{"neutralize": {"features": []}}]},
        {"post": [{"neutralize": {"proportion": 1.1}}]},
        {"post": [{"blend": {}}]},
        {"post": [{"clip": {"low": "a"}}]},
    ]
    for bad in bads:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **bad}, schema)


def test_every_key_has_a_description() -> None:
    def keys(schema: object) -> list[object]:
        if isinstance(schema, list):
            return [key for item in schema for key in keys(item)]
        if not isinstance(schema, dict):
            return []
        own = list(schema.get("properties", {}).values())
        return own + [key for item in schema.values() for key in keys(item) if isinstance(item, dict | list)]

    described = keys(json.loads(config.schema_text()))
    assert len(described) > 15
    assert all(isinstance(key, dict) and key.get("description") for key in described if isinstance(key, dict))


@given(text=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=40)
def test_whatever_the_bytes_only_a_config_error_comes(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz" / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mlp.yaml"
    path.write_bytes(text)
    with pytest.raises(errors.ConfigError):
        config.load(path)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ref", "data", "rows", "live", "limits", "rank", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@example(data={"name": "fuzz", "bundle": "\0"})
@given(data=st.dictionaries(st.sampled_from(KEYS.split(", ")), VALUES))
@settings(max_examples=40)
def test_whatever_the_values_only_a_config_error_comes(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz" / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mlp.yaml"
    path.write_text(yaml.safe_dump({"name": "mlp", "bundle": "none", **data}, allow_unicode=True))
    with pytest.raises(errors.ConfigError):
        config.load(path)


def test_loading_a_config_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'pydantic', 'docker', 'jinja2'}"
    code = f"import sys, builder.config.model; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
