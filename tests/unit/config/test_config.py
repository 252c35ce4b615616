"""Configs that load, and the exact message for each that does not."""

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
SECRET_MESSAGE = (
    "a secret does not belong in a config; use the environment (NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY), "
    "and if this file was ever shared, make a new key"
)
MINIMAL = f"name: mlp\nimage: {{ref: {REF}}}\nbundle: bundles/mlp\n"
KEYS = "name, image, bundle, pickle, post, data_version, validate, upload"
WRITE_NUMBER = "write a number like 12, 0.5 or 1.0e-3"
ONE_MAPPING = "expected one mapping (key: value)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "models"
    (root / "configs" / "bundles" / "mlp").mkdir(parents=True)
    return root


def write(root: Path, text: str | bytes, name: str = "mlp.yaml") -> Path:
    path = root / "configs" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load_problems(path: Path) -> list[str]:
    """Return the problems of a config, with placeholders for its path and root."""
    with pytest.raises(errors.ConfigError) as raised:
        config.load(path)
    return [
        problem.replace(f"{path}:", "FILE:").replace(str(path.parents[1]), "ROOT") for problem in raised.value.problems
    ]


def with_key(key: str, value: str) -> str:
    """Return the minimal config with one top-level key set or added, on the last line (3, or 4 if it is new)."""
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:")]
    return "\n".join([*lines, f"{key}: {value}"])


def with_step(step: str) -> str:
    """Return the minimal config with one step, on line 5."""
    return MINIMAL + f"post:\n  - {step}\n"


# (name of the case, the file, the problems)
INVALID: list[tuple[str, str | bytes, list[str]]] = [
    ("duplicate key", MINIMAL + "name: mlp\n", ["FILE:4: name: duplicate key, also on line 1; remove one of them"]),
    (
        "unknown key, near one",
        MINIMAL + "validate: {row: 6000}\n",
        ["FILE:4: validate.row: unknown key; did you mean rows?"],
    ),
    ("unknown key, near none", MINIMAL + "zzz: 1\n", [f"FILE:4: zzz: unknown key; valid keys: {KEYS}"]),
    (
        "version unquoted",
        with_key("image", f"{{ref: {REF}, stand_in: 3.10}}"),
        [("FILE:3: image.stand_in: 3.10 is invalid; expected '3.10', '3.11', '3.12' or '3.13': quote it, \"3.10\"")],
    ),
    (
        "version not known",
        with_key("image", f'{{ref: {REF}, stand_in: "3.1"}}'),
        [
            (
                "FILE:3: image.stand_in: \"3.1\" is invalid; expected '3.10', '3.11', '3.12' or '3.13'; "
                'did you mean "3.13"?'
            )
        ],
    ),
    (
        "a number that reads as text",
        MINIMAL + "validate:\n  limits: {cpus: 1e-1}\n",
        [f'FILE:5: validate.limits.cpus: 1e-1 is not allowed without quotes; {WRITE_NUMBER}, or "1e-1" if it is text'],
    ),
    (
        "octal",
        MINIMAL + "validate: {rows: 0123}\n",
        [(f'FILE:4: validate.rows: 0123 is not allowed without quotes; {WRITE_NUMBER}, or "0123" if it is text')],
    ),
    (
        "4 base 60",
        MINIMAL + "validate: {limits: {seconds: 10:00}}\n",
        [
            (
                "FILE:4: validate.limits.seconds: 10:00 is not allowed without quotes; "
                f'{WRITE_NUMBER}, or "10:00" if it is text'
            )
        ],
    ),
    (
        "a truth value",
        MINIMAL + "upload: {model: NO}\n",
        ['FILE:4: upload.model: NO is not allowed without quotes; write true or false, or "NO" if it is text'],
    ),
    (
        "tab",
        "name: mlp\nimage:\n\tref: x:1\n",
        ["FILE:3: column 1: a tab is used for indentation; indent with spaces"],
    ),
    (
        "indent",
        "name: mlp\nimage:\n    ref: x:1\n  stand_in: '3.11'\n",
        [
            (
                "FILE:4: column 3: the indentation matches no block above (opened on line 1); "
                "indent it like the lines of its block"
            )
        ],
    ),
    (
        "alias",
        "name: &n mlp\nimage: {ref: x:1}\nbundle: *n\n",
        [
            "FILE:1: name: anchors (&name) are not allowed; write the value out wherever it is used",
            "FILE:3: bundle: aliases (*name) are not allowed; write the value out",
        ],
    ),
    (
        "merge key",
        MINIMAL + "validate:\n  <<: {rows: 3}\n",
        ["FILE:5: validate.<<: merge keys are not allowed; write the keys out"],
    ),
    (
        "depth",
        "name: " + "[" * 2_000,
        ["FILE:1: column 38: lists and mappings are nested deeper than 32 levels; use fewer levels"],
    ),
    ("two documents", MINIMAL + "---\na: 1\n", [f"FILE:4: column 1: a second document starts here; {ONE_MAPPING}"]),
    ("empty", "", [f"FILE:1: the file is empty; {ONE_MAPPING}"]),
    ("comments only", "# mlp\n", [f"FILE:1: the file is empty; {ONE_MAPPING}"]),
    (
        "byte order mark",
        b"\xef\xbb\xbf" + MINIMAL.encode(),
        ["FILE:1: starts with a byte order mark; save the file as UTF-8 without it"],
    ),
    ("a list", "- name: mlp\n", [f"FILE:1: the file contains a list; {ONE_MAPPING}"]),
    ("one word", "mlp\n", [f"FILE:1: the file contains a single value; {ONE_MAPPING}"]),
    ("not UTF-8", b"name: mlp # \xe9\n", ["FILE:1: column 13: byte 0xe9 is not UTF-8; save the file as UTF-8"]),
    ("huge", b"#" * 2_000_000, ["FILE:1: the file is larger than 1,000,000 bytes; expected about a page of text"]),
    (
        "tag",
        "name: !!python/object/apply:os.system [id]\n" + MINIMAL[10:],
        ["FILE:1: name: the tag !!python/object/apply:os.system is not allowed; write the plain value"],
    ),
    (
        "image id",
        with_key("image", f"{{ref: '{DIGEST}'}}"),
        [
            (
                f"FILE:3: image.ref: {DIGEST} is an image id or a digest without a repository, which cannot be "
                "looked up; expected registry/repository:tag or registry/repository@sha256:..., with the "
                "repository digest "
                "that `docker image inspect` lists under RepoDigests"
            )
        ],
    ),
    (
        "upper case",
        with_key("image", "{ref: ghcr.io/Numerai/predict:1}"),
        [
            (
                "FILE:3: image.ref: ghcr.io/Numerai/predict:1 has upper case in its repository; "
                "expected lower case, digits, and single . _ - / between them"
            )
        ],
    ),
    (
        "neither tag nor digest",
        with_key("image", "{ref: ghcr.io/numerai/predict}"),
        [
            (
                "FILE:3: image.ref: ghcr.io/numerai/predict has neither a tag nor a digest; "
                "expected registry/repository:tag or registry/repository@sha256:..."
            )
        ],
    ),
    (
        "name is not the stem",
        with_key("name", "other"),
        ['FILE:3: name: "other" does not match the file name; expected "mlp", or rename the file'],
    ),
    (
        "name is not safe",
        with_key("name", "../mlp"),
        ['FILE:3: name: "../mlp" is invalid; expected text of 1 to 40 characters a-z 0-9 _ -'],
    ),
    (
        "slot's name too long",
        MINIMAL + "upload: {model: a_slot_with_a_long_name}\n",
        ['FILE:4: upload.model: "a_slot_with_a_long_name" has 23 characters; a slot\'s name has at most 20'],
    ),
    (
        "no UUID",
        MINIMAL + "upload: {model: 1234-5678}\n",
        [
            (
                'FILE:4: upload.model: "1234-5678" is not a model id; '
                "expected a UUID (8-4-4-4-12 digits 0-9 a-f) or a slot's name"
            )
        ],
    ),
    (
        "a slot's name with a space",
        MINIMAL + "upload: {model: my slot}\n",
        [
            (
                'FILE:4: upload.model: "my slot" is not a slot\'s name; '
                "expected 1 to 20 of A-Z a-z 0-9 _, or a model id (a UUID)"
            )
        ],
    ),
    (
        "secret by its key",
        MINIMAL + "upload: {secret_key: hunter2}\n",
        [f"FILE:4: upload.secret_key: {SECRET_MESSAGE}"],
    ),
    (
        "secret by its looks",
        MINIMAL + "upload: {model: ABCDEFGH$IJKLMNOP}\n",
        [f"FILE:4: upload.model: {SECRET_MESSAGE}"],
    ),
    (
        "header",
        MINIMAL + "data_version: Token abcdefgh\n",
        [f"FILE:4: data_version: {SECRET_MESSAGE}"],
    ),
    (
        "missing",
        with_key("bundle", "bundles/none"),
        [
            (
                'FILE:3: bundle: "bundles/none" is ROOT/configs/bundles/none, which does not exist; '
                "expected the folder that contains bundle.json, or a NAME.bundle.zip, relative to ROOT/configs"
            )
        ],
    ),
    (
        "a file",
        with_key("bundle", "mlp.yaml"),
        [
            (
                'FILE:3: bundle: "mlp.yaml" is ROOT/configs/mlp.yaml, which is not a folder or a .zip; '
                "expected the folder that contains bundle.json, or a NAME.bundle.zip, relative to ROOT/configs"
            )
        ],
    ),
    (
        "out of the root",
        with_key("bundle", "../../.."),
        [
            (
                'FILE:3: bundle: "../../.." is ABOVE, which is not below ROOT; '
                "move it below the folder that contains configs/"
            )
        ],
    ),
    (
        "absolute",
        with_key("bundle", "/bundles/mlp"),
        ['FILE:3: bundle: "/bundles/mlp" is not a relative path; write it relative to ROOT/configs'],
    ),
    (
        "parquet is a folder",
        MINIMAL + "validate:\n  data:\n    live: bundles\n",
        [
            (
                'FILE:6: validate.data.live: "bundles" is ROOT/configs/bundles, which is a folder; '
                "expected a parquet file, relative to ROOT/configs"
            )
        ],
    ),
    (
        "rows",
        MINIMAL + "validate: {rows: 0}\n",
        ["FILE:4: validate.rows: 0 is invalid; expected an integer from 1 to 1,000,000"],
    ),
    (
        "an unknown relation",
        MINIMAL + "validate: {exempt: {shufle: ranks by first}}\n",
        ["FILE:4: validate.exempt.shufle: unknown key; did you mean shuffle?"],
    ),
    (
        "a relation that is always required",
        MINIMAL + "validate: {exempt: {columns: by position}}\n",
        ["FILE:4: validate.exempt.columns: unknown key; valid keys: shuffle, types, era, range"],
    ),
    (
        "three relations",
        MINIMAL + "validate: {exempt: {shuffle: a, types: b, era: c}}\n",
        ["FILE:4: validate.exempt: 3 relations are exempt; expected at most 2: fix the others"],
    ),
    (
        "a relation without a reason",
        MINIMAL + "validate: {exempt: {shuffle: ' '}}\n",
        ['FILE:4: validate.exempt.shuffle: " " is invalid; expected text of 1 to 200 characters: the reason'],
    ),
    (
        "a relation with an empty reason",
        MINIMAL + "validate: {exempt: {range: }}\n",
        ["FILE:4: validate.exempt.range: null is invalid; expected text of 1 to 200 characters: the reason"],
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
        MINIMAL + "data_version: 5.3\n",
        ["FILE:4: data_version: 5.3 is invalid; expected text like v5.3"],
    ),
    (
        "step",
        MINIMAL + "post:\n  - rank: {}\n  - rnk: {}\n",
        ["FILE:6: post[1].rnk: unknown key; did you mean rank?"],
    ),
    (
        "gaussianize",
        with_step("gaussianize: {scope: eras}"),
        ["FILE:5: post[0].gaussianize.scope: \"eras\" is invalid; expected 'era' or 'frame'; did you mean \"era\"?"],
    ),
    (
        "standardize",
        with_step("standardize: {ddof: 1}"),
        ["FILE:5: post[0].standardize.ddof: unknown key; valid keys: scope"],
    ),
    (
        "neutralize to nothing",
        with_step("neutralize: {proportion: 0.5}"),
        ["FILE:5: post[0].neutralize: has no columns; expected one of features, group, benchmarks"],
    ),
    (
        "neutralize to two sorts",
        with_step("neutralize: {features: [a], group: medium}"),
        ["FILE:5: post[0].neutralize: has features and group; expected one of features, group, benchmarks"],
    ),
    (
        "neutralize to a column twice",
        with_step("neutralize: {benchmarks: [a, b, a]}"),
        ["FILE:5: post[0].neutralize: duplicates in benchmarks: a; list each once"],
    ),
    (
        "neutralize to another column",
        with_step("neutralize: {features: [a, era, target_x]}"),
        ["FILE:5: post[0].neutralize: era, target_x cannot be neutralised to; expected features"],
    ),
    (
        "neutralize, an empty list",
        with_step("neutralize: {features: []}"),
        ["FILE:5: post[0].neutralize.features: a list is invalid; expected a list of 1 to 100,000 items"],
    ),
    (
        "neutralize, one name",
        with_step("neutralize: {features: a, proportion: 2, scope: row}"),
        [
            'FILE:5: post[0].neutralize.features: "a" is invalid; expected a list',
            "FILE:5: post[0].neutralize.proportion: 2 is invalid; expected a number from 0 to 1",
            "FILE:5: post[0].neutralize.scope: \"row\" is invalid; expected 'era' or 'frame'",
        ],
    ),
    (
        "neutralize to a group without its file",
        with_step("neutralize: {group: medium}"),
        [
            (
                'FILE:5: post[0].neutralize.group: cannot find the features of the set "medium": neither '
                "ROOT/v5.3/features.json nor ROOT/features.json exists; fetch the file (`make data`), or "
                "list the features: features: [...]"
            )
        ],
    ),
    (
        "blend",
        with_step("blend: {benchmrk: a, weight: 1.5, transform: ranks}"),
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
        with_step("clip: {low: 1, high: 0}"),
        ["FILE:5: post[0].clip: low is 1 and high is 0; expected low to be below high"],
    ),
    (
        "clip, no number",
        with_step("clip: {low: .inf, high: a}"),
        [
            f'FILE:5: post[0].clip.low: .inf is not allowed without quotes; {WRITE_NUMBER}, or ".inf" if it is text',
            'FILE:5: post[0].clip.high: "a" is invalid; expected a number from -1,000,000,000 to 1,000,000,000',
        ],
    ),
    (
        "a path that the file system cannot take",
        MINIMAL.replace("bundle: ", 'bundle: "\\ud800" # ') + 'validate: {data: {live: "\\0"}}\n',
        [
            "FILE:3: bundle: the text contains a control character; remove it",
            "FILE:4: validate.data.live: the text contains a control character; remove it",
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
        with_step("clip: {low: 1.5, high: 2}"),
        [
            (
                "FILE:5: post[0]: no step after clip limits the predictions to [0, 1], which the tournament "
                "requires; add `- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`"
            )
        ],
    ),
    (
        "a bundle and a pickle",
        f"{MINIMAL}pickle: a.pkl\n",
        [
            "FILE:4: pickle: a config has a bundle or a finished pickle; remove one of them",
        ],
    ),
    (
        "a pickle with post-processing",
        f"name: mlp\nimage: {{ref: {REF}}}\npickle: bundles/mlp\npost: []\n",
        [
            (
                'FILE:3: pickle: "bundles/mlp" is ROOT/configs/bundles/mlp, which is a folder; expected a pickle file, '
                "relative to ROOT/configs"
            ),
            "FILE:4: post: a finished pickle is not changed; remove post, or export the model to a bundle",
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
            (
                "FILE:1: bundle: missing; expected a path relative to this file or a mapping with the keys url, "
                "sha256; or pickle: PATH instead"
            ),
            "FILE:2: image.ref: missing; expected an image reference (registry/repository:tag, or default)",
            "FILE:2: image.rf: unknown key; did you mean ref?",
            'FILE:4: validate.data.live: 3 is invalid; expected a path relative to this file: quote it, "3"',
            'FILE:5: validate.rows: "many" is invalid; expected an integer from 1 to 1,000,000',
            'FILE:6: post: "rank" is invalid; expected a list',
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID])
def test_the_problems_of_an_invalid_file(root: Path, text: str | bytes, expected: list[str]) -> None:
    path = write(root, textwrap.dedent(text) if isinstance(text, str) else text)
    above = str(root.parents[1])
    assert load_problems(path) == [problem.replace("ABOVE", above) for problem in expected]


def test_the_example_loads(root: Path) -> None:
    path = write(root, (REPOSITORY / "configs" / "mlp.yaml").read_bytes())
    assert config.load(path) == config.Config(
        name="mlp",
        image=config.ImageConfig(ref=REF, stand_in="3.12"),
        bundle=root / "configs" / "bundles" / "mlp",
        post=(post.make_step("rank", scope="era", ties="average"),),
        data_version="v5.3",
        validate=config.ValidateConfig(
            data="shaped", rows=6_000, limits=config.LimitsConfig(cpus=1.0, memory=4 << 30, seconds=600)
        ),
        upload=config.UploadConfig(model="my_slot"),
        file=root / "configs" / "mlp.yaml",
        root=root,
    )


def test_only_three_keys_are_required(root: Path) -> None:
    loaded = config.load(write(root, MINIMAL))
    assert (loaded.post, loaded.upload, loaded.data_version) == (None, None, "v5.3")
    assert loaded.validate == config.ValidateConfig()
    assert loaded.image == config.ImageConfig(ref=REF)


def test_a_finished_pickle_can_replace_the_bundle(root: Path) -> None:
    (root / "configs" / "a.pkl").write_bytes(b"never read here")
    loaded = config.load(write(root, MINIMAL.replace("bundle: bundles/mlp", "pickle: a.pkl")))
    assert (loaded.bundle, loaded.pickle) == (None, root / "configs" / "a.pkl")


def test_relations_are_exempt_with_their_reasons(root: Path) -> None:
    loaded = config.load(write(root, MINIMAL + "validate: {exempt: {shuffle: ranks by first, era: is text}}\n"))
    assert loaded.validate.exempt.reasons == {"shuffle": "ranks by first", "era": "is text"}


def test_the_root_contains_the_nearest_configs_folder(root: Path) -> None:
    inner = root / "configs" / "mine" / "configs" / "deep"
    (inner / "bundle").mkdir(parents=True)
    path = inner / "a.yaml"
    path.write_text(f"name: a\nimage: {{ref: {REF}}}\nbundle: bundle\n")
    assert config.load(path).root == root / "configs" / "mine"


def test_a_file_outside_of_a_configs_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlp.yaml"
    path.write_text(MINIMAL)
    resolved = path.resolve()
    with pytest.raises(errors.ConfigError) as raised:
        config.load(path)
    problem = (
        f"{resolved} is not in a folder named configs; move it into one: the folder that contains configs/ is the root "
        "of all paths"
    )
    assert raised.value.problems == (f"{path}:1: {problem}",)


def test_a_config_loads_by_its_relative_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, MINIMAL)
    monkeypatch.chdir(root)
    loaded = config.load(Path("configs/mlp.yaml"))
    assert loaded.bundle == root / "configs" / "bundles" / "mlp"
    monkeypatch.chdir(root / "configs")
    assert config.load(Path("mlp.yaml")) == loaded


def test_a_link_out_of_the_root_is_refused(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "configs" / "bundles" / "link").symlink_to(outside)
    (problem,) = load_problems(write(root, with_key("bundle", "bundles/link")))
    assert problem.startswith(f'FILE:3: bundle: "bundles/link" is {outside}, which is not below ROOT;')


def test_a_loop_of_links_does_not_exist(root: Path) -> None:
    (root / "configs" / "bundles" / "a").symlink_to("b")
    (root / "configs" / "bundles" / "b").symlink_to("a")
    (problem,) = load_problems(write(root, with_key("bundle", "bundles/a")))
    assert "which does not exist" in problem


def test_parquet_paths_are_absolute_and_need_not_exist(root: Path) -> None:
    loaded = config.load(
        write(root, MINIMAL + "validate: {data: {live: ../data/live.parquet, benchmarks: b.parquet}}\n")
    )
    assert loaded.validate.data == config.LivePaths(
        live=root / "data" / "live.parquet", benchmarks=root / "configs" / "b.parquet"
    )


@pytest.mark.parametrize(
    ("memory", "size"), [("4g", 4 << 30), ("512m", 512 << 20), ("1.5G", 3 << 29), ("65536k", 64 << 20)]
)
def test_memory_is_given_in_units_of_docker(root: Path, memory: str, size: int) -> None:
    assert (
        config.load(write(root, MINIMAL + f"validate: {{limits: {{memory: {memory}}}}}\n")).validate.limits.memory
        == size
    )


@pytest.mark.parametrize("model", ["a", "my_slot", "x" * 20, "12345678-90ab-cdef-1234-567890ABCDEF"])
def test_slot_names_and_model_ids_are_accepted(root: Path, model: str) -> None:
    loaded = config.load(write(root, MINIMAL + f"upload: {{model: {model}}}\n"))
    assert loaded.upload == config.UploadConfig(model=model)


def test_a_missing_file_is_an_error_that_lists_the_existing_ones(root: Path) -> None:
    write(root, MINIMAL)
    with pytest.raises(errors.ConfigError, match=r"not found; pass one of the configs in .*configs: mlp\.yaml"):
        config.load(root / "configs" / "mpl.yaml")


def test_a_bundle_instead_of_a_config_is_refused_with_the_command_that_writes_one(root: Path) -> None:
    path = root / "mine.bundle.zip"
    path.write_bytes(b"PK")
    with pytest.raises(
        errors.ConfigError, match=r"is a bundle, not a config; write .* init (--bundle|BUNDLE)=.*mine\.bundle\.zip"
    ):
        config.load(path)


def test_a_path_that_is_not_a_readable_file_is_refused(root: Path) -> None:
    os.mkfifo(root / "configs" / "pipe.yaml")
    for path, message in ((root / "configs", "is a folder"), (root / "configs" / "pipe.yaml", "is not a file")):
        with pytest.raises(errors.ConfigError, match=message):
            config.load(path)
    with pytest.raises(errors.ConfigError, match="cannot read"):
        config.load(Path("configs/\0.yaml"))
    with pytest.raises(errors.ConfigError, match="cannot read"):
        config.load(root / "configs" / ("x" * 5_000))


SECRET = "hunter2hunter2"
TOKEN = "ABCDEFGH1234$" + "Z9" * 32
FILES_WITH_SECRETS = [
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


@pytest.mark.parametrize("text", FILES_WITH_SECRETS)
def test_a_secret_is_never_shown(root: Path, text: str) -> None:
    shown = "\n".join(load_problems(write(root, f"name: mlp\n{text}\n")))
    assert SECRET not in shown
    assert TOKEN not in shown
    assert TOKEN[13:40] not in shown


@pytest.mark.parametrize("value", ["0123", "12345678", "12:30:45", "1e-9"])
def test_a_secret_that_looks_like_a_number_is_never_shown(root: Path, value: str) -> None:
    shown = "\n".join(load_problems(write(root, MINIMAL + f"upload: 1\ntoken: {value}\ndata_version: {value}\n")))
    assert value not in shown
    assert f"FILE:5: token: {SECRET_MESSAGE}" in shown


def test_build_inputs_do_not_depend_on_comments_validate_and_upload(root: Path) -> None:
    first = config.select_build_inputs(config.load(write(root, MINIMAL)))
    more = "# why\nvalidate: {rows: 3}\nupload: {model: x}\ndata_version: v6\n"
    assert config.select_build_inputs(config.load(write(root, MINIMAL + more))) == first
    assert first == {"image": {"ref": REF, "stand_in": None}, "post": None}


def test_build_inputs_include_the_defaults_of_a_step(root: Path) -> None:
    inputs = config.select_build_inputs(config.load(write(root, MINIMAL + "post: [rank: {}]\n")))
    assert inputs["post"] == [{"rank": {"scope": "era", "ties": "average"}}]
    assert config.select_build_inputs(config.load(write(root, MINIMAL + "post: []\n")))["post"] == []


def test_build_inputs_have_the_features_of_a_group(root: Path) -> None:
    (root / "v5.3").mkdir()
    sets = root / "v5.3" / "features.json"
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
    assert load_problems(path) == [
        'FILE:5: post[0].neutralize.group: "small" is not a feature set of ROOT/v5.3/features.json; did you mean smoll?'
    ]


def test_a_blend_alone_loads_since_the_model_may_be_bounded(root: Path) -> None:
    path = write(root, MINIMAL + "post:\n  - blend: {benchmark: a, transform: raw}\n")
    assert config.load(path).post == (post.make_step("blend", benchmark="a", transform="raw"),)


def test_the_committed_schema_is_up_to_date() -> None:
    committed = (REPOSITORY / "configs" / "schema.json").read_text()
    assert committed == config.render_schema(), "run: python -m builder.config.model > configs/schema.json"


def test_the_schema_is_valid_and_accepts_every_example() -> None:
    schema = json.loads(config.render_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in (REPOSITORY / "configs").glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_the_schema_refuses_what_load_refuses() -> None:
    schema = json.loads(config.render_schema())
    good = yaml.safe_load(MINIMAL)
    jsonschema.validate(good, schema)
    invalid: list[dict[str, object]] = [
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
    for changes in invalid:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **changes}, schema)


def test_every_key_has_a_description() -> None:
    def keys(schema: object) -> list[object]:
        if isinstance(schema, list):
            return [key for item in schema for key in keys(item)]
        if not isinstance(schema, dict):
            return []
        properties = list(schema.get("properties", {}).values())
        return properties + [key for item in schema.values() for key in keys(item) if isinstance(item, dict | list)]

    described = keys(json.loads(config.render_schema()))
    assert len(described) > 15
    assert all(isinstance(key, dict) and key.get("description") for key in described if isinstance(key, dict))


@given(text=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=40)
def test_any_bytes_raise_only_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
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
def test_any_values_raise_only_a_config_error(
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
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
