"""``init`` writes a complete config that loads for any names, with the facts that it found in comments."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle import activations, post
from builder.bundle.storage import write
from builder.config import feature_match, init, init_text, strict_yaml
from builder.config import model as config
from tests.support import bundles
from tests.support.command import ROOT, call, read_output

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="".join(map(chr, (*range(32), 127)))),
    min_size=1,
    max_size=12,
)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def write_bundle(path: Path, **changes: Any) -> Path:
    """Write a small bundle with some attributes changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write.write(path, dataclasses.replace(bundles.make_bundle(), **changes))
    return path


def run_init(root: Path, bundle: Path, **options: Any) -> tuple[init.InitResult, config.Config, str]:
    """Run init; return its result, the loaded config and the text of the config."""
    result = init.init(init.InitRequest(bundle=bundle, root=root, **options), cache=root.parent / "cache")
    return result, config.load(result.config), result.config.read_text(encoding="utf-8")


def write_feature_sets(path: Path, **names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"feature_sets": names}))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def test_the_config_is_complete_and_describes_the_model(root: Path) -> None:
    trained = {"framework": "lightgbm", "version": "4.6.0", "target": "target_ender", "eras": ("0001", "0002", "0574")}
    bundle = write_bundle(root / "My Model (v2).bundle.zip", trained=trained)
    result, loaded, text = run_init(root, bundle)
    assert result.name == "my_model_v2"
    assert result.config == root / "configs" / "my_model_v2.yaml"
    assert loaded.bundle == result.bundle == bundle
    assert loaded.image == config.ImageConfig(ref=init_text.REFERENCE)
    assert loaded.image.stand_in is None
    assert loaded.post == (post.make_step("rank"),)
    assert loaded.validate == config.ValidateConfig()
    assert loaded.upload is None
    assert "stand_in" not in text
    for line in (
        "# The model: mlp, 3 features, 21 parameters.",
        "# Trained with lightgbm 4.6.0, for target_ender, on 3 eras (0001 to 0574).",
        "# 3 features: no features.json found to look up their set (expected v5.3/features.json)",
        "  - rank: {scope: era, ties: average}",
        "  rows: 6000",
        "  limits: {cpus: 1, memory: 4g, seconds: 600}  # the tournament's",
        "# upload:",
    ):
        assert line in text.splitlines()
    assert not list(root.rglob("*.bundle.zip"))[1:]


def test_the_config_matches_the_schema(root: Path) -> None:
    _, _, text = run_init(root, write_bundle(root / "mine.bundle.zip"))
    assert "yaml-language-server" not in text
    schema = json.loads((ROOT / "configs" / "schema.json").read_text())
    (root / "configs" / "schema.json").write_text("{}")
    _, _, text = run_init(root, root / "mine.bundle.zip", force=True)
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml.safe_load(text), schema)
    uncommented = text.replace("# upload:\n#   model: my_slot", "upload:\n  model: my_slot")
    assert yaml.safe_load(uncommented)["upload"] == {"model": "my_slot"}


@pytest.mark.parametrize(
    ("files", "text_part", "version"),
    [
        ({"v5.2": {"small": ["feature_2", "feature_0", "feature_1"]}}, "exactly the set small of v5.2", "v5.2"),
        (
            {"v5.2": {"all": [f"feature_{n}" for n in range(9)], "medium": [f"feature_{n}" for n in range(5)]}},
            "a subset of the 5 features of the set medium of v5.2",
            "v5.2",
        ),
        (
            {"v5.2": {"small": ["feature_0"], "mine": ["feature_1", "feature_2"]}},
            "not in any single set of v5.2, but",
            "v5.3",
        ),
        (
            {"v5.0": {"all": ["feature_0", "a", "b"]}},
            "not in the sets of v5.0, where 2 of them are missing: feature_1, feature_2",
            "v5.3",
        ),
        (
            {"v5.0": {"all": ["feature_0", "feature_1", "feature_2"]}, "v5.3": {"all": ["feature_0"]}},
            "exactly the set all of v5.0",
            "v5.0",
        ),
        (
            {name: {"all": ["feature_0", "feature_1", "feature_2"]} for name in ("v5.9", "v5.10", "v4.3")},
            "exactly the set all of v5.10",
            "v5.10",
        ),
        (
            {".": {"quantum": ["feature_0", "feature_1", "feature_2"]}},
            "exactly the set quantum of features.json",
            "v5.3",
        ),
    ],
    ids=range(7),
)
def test_the_feature_set_is_found(
    root: Path, files: dict[str, dict[str, list[str]]], text_part: str, version: str
) -> None:
    for folder, names in files.items():
        write_feature_sets(root / folder / "features.json", **names)
    result, loaded, text = run_init(root, write_bundle(root / "mine.bundle.zip"))
    assert result.notes[0].startswith("3 features: ")
    assert text_part in result.notes[0]
    assert f"# {result.notes[0]}" in text.splitlines()
    assert loaded.data_version == version


def test_the_data_version_is_that_of_the_benchmarks(root: Path) -> None:
    network = bundles.make_network(4)
    write.write(root / "mine.bundle.zip", bundles.make_bundle(3, ("v52_lgbm_ender20",), network=network))
    _, loaded, text = run_init(root, root / "mine.bundle.zip")
    assert loaded.data_version == "v5.2"
    assert "# Benchmark columns among its inputs: v52_lgbm_ender20." in text


def test_a_features_file_may_be_given(root: Path, tmp_path: Path) -> None:
    file = write_feature_sets(
        tmp_path / "data" / "v5.1" / "features.json", medium=["feature_0", "feature_1", "feature_2"]
    )
    _, loaded, text = run_init(root, write_bundle(root / "mine.bundle.zip"), features=file)
    assert "exactly the set medium of v5.1" in text
    assert loaded.data_version == "v5.1"
    file.write_text("{}")
    with pytest.raises(errors.UsageError, match=r"--features: .*is invalid"):
        run_init(root, root / "mine.bundle.zip", features=file, force=True)
    # A file that was found, not given, is skipped with a note if it is invalid.
    write_feature_sets(root / "v5.2" / "features.json").write_text("nothing")
    result, _, _ = run_init(root, root / "mine.bundle.zip", force=True)
    assert any("v5.2/features.json is invalid" in note for note in result.notes)


def test_a_rank_is_added_if_the_predictions_are_not_bounded(root: Path) -> None:
    for steps, why in (
        ((), "no step limits the model's predictions to [0, 1]"),
        (
            (post.make_step("rank"), post.make_step("neutralize", features=("feature_1",))),
            "no step after neutralize limits the predictions",
        ),
    ):
        result, loaded, text = run_init(root, write_bundle(root / "mine.bundle.zip", post=steps), force=True)
        assert loaded.post == (*steps, post.make_step("rank"))
        assert f"  # Added by `init`: {why}" in text
        assert any(note.startswith(f"post: added a rank step: {why}") for note in result.notes)


def test_no_step_is_added_for_a_bounded_model(root: Path) -> None:
    network = bundles.make_network(3)
    last = network.layers[-1]
    assert last.op == "dense"
    top = dataclasses.replace(last, activation=activations.Activation(name="sigmoid"))
    bounded = dataclasses.replace(network, layers=(*network.layers[:-1], top))
    write.write(root / "mine.bundle.zip", dataclasses.replace(bundles.make_bundle(network=bounded), post=()))
    _, loaded, text = run_init(root, root / "mine.bundle.zip")
    assert loaded.post == ()
    assert "none, since the model's predictions are in [0, 1]." in text


def test_all_steps_are_written_with_their_defaults(root: Path) -> None:
    names = tuple(f"feature_{index}" for index in range(700))
    steps = (
        post.make_step("gaussianize"),
        post.make_step("neutralize", features=names, proportion=0.5),
        post.make_step("neutralize", benchmarks=("v52_lgbm_ender20",), proportion=1e-7),
        post.make_step("blend", benchmark="v52_lgbm_ender20", weight=0.25),
        post.make_step("clip", low=-1e-12, high=2e8),
        post.make_step("rank", scope="frame", ties="first"),
    )
    _, loaded, text = run_init(root, write_bundle(root / "mine.bundle.zip", post=steps))
    assert loaded.post == steps
    assert max(map(len, text.splitlines())) <= 120
    assert loaded.data_version == "v5.2"


# ---- the path of the bundle


def test_a_bundle_outside_of_the_root_is_copied_with_a_note(root: Path, tmp_path: Path) -> None:
    outside = write_bundle(tmp_path / "elsewhere" / "mine.bundle.zip")
    result, loaded, _ = run_init(root, outside)
    copy = root / "configs" / "bundles" / "mine.bundle.zip"
    assert loaded.bundle == result.bundle == copy
    assert copy.read_bytes() == outside.read_bytes()
    assert any("the bundle was copied to configs/bundles/mine.bundle.zip" in note for note in result.notes)
    # The same bundle as a folder is packed into the same zip.
    folder = write_bundle(tmp_path / "other" / "mine")
    assert run_init(root, folder, force=True)[1].bundle == copy
    assert copy.read_bytes() == outside.read_bytes()


def test_another_bundle_is_replaced_only_with_force(root: Path, tmp_path: Path) -> None:
    run_init(root, write_bundle(tmp_path / "mine.bundle.zip"))
    copy = root / "configs" / "bundles" / "mine.bundle.zip"
    before = copy.read_bytes()
    (root / "configs" / "mine.yaml").unlink()
    write.write(tmp_path / "mine.bundle.zip", bundles.make_bundle(5))
    with pytest.raises(errors.RefusedError, match=r"mine\.bundle\.zip: already exists and is not this bundle"):
        run_init(root, tmp_path / "mine.bundle.zip")
    assert copy.read_bytes() == before
    assert not (root / "configs" / "mine.yaml").exists()
    run_init(root, tmp_path / "mine.bundle.zip", force=True)
    assert copy.read_bytes() == (tmp_path / "mine.bundle.zip").read_bytes()


def test_a_bundle_below_the_root_is_not_copied(root: Path) -> None:
    for bundle in (
        "a.bundle.zip",
        "models/b.bundle.zip",
        "configs/bundles/c",
        "configs/d.bundle.zip",
        "configs/bundle",
    ):
        result, loaded, _ = run_init(root, write_bundle(root / bundle), name="here", force=True)
        assert loaded.bundle == result.bundle == root / bundle
        assert not any("was copied" in note for note in result.notes)


@pytest.mark.parametrize("name", ["a\x07b.bundle.zip", "abcdef$ghijkl.bundle.zip", "renamed.txt"])
def test_a_bundle_that_no_config_can_name_is_copied(root: Path, name: str) -> None:
    write_bundle(root / "plain.bundle.zip").rename(root / name)
    _, loaded, _ = run_init(root, root / name, name="plain")
    assert loaded.bundle == root / "configs" / "bundles" / "plain.bundle.zip"


# ---- what is refused


def test_an_existing_config_is_replaced_only_with_force(root: Path) -> None:
    bundle = write_bundle(root / "mine.bundle.zip")
    result, _, text = run_init(root, bundle)
    result.config.write_text("mine")
    with pytest.raises(errors.RefusedError, match=r"mine\.yaml: already exists; .*--force .*--name"):
        run_init(root, bundle)
    assert result.config.read_text() == "mine"
    assert run_init(root, bundle, force=True)[2] == text
    assert run_init(root, bundle, name="another")[0].config == root / "configs" / "another.yaml"


def test_a_config_that_is_a_folder_is_not_replaced(root: Path, tmp_path: Path) -> None:
    (root / "configs" / "mine.yaml").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(errors.RefusedError, match=r"mine\.yaml: already exists; it is not a regular file: move it"):
            run_init(root, write_bundle(tmp_path / "mine.bundle.zip"), force=force)
    assert [path.name for path in (root / "configs").iterdir()] == ["mine.yaml"]


def test_no_bundle_is_copied_through_a_link_or_over_another_file(root: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "mine.bundle.zip")
    (tmp_path / "outside").mkdir()
    (root / "configs").mkdir()
    (root / "configs" / "bundles").symlink_to(tmp_path / "outside")
    with pytest.raises(errors.RefusedError, match="bundles: is a link or not a folder, and the bundle would be copied"):
        run_init(root, bundle, force=True)
    assert list((tmp_path / "outside").iterdir()) == []
    (root / "configs" / "bundles").unlink()
    copy = root / "configs" / "bundles" / "mine.bundle.zip"
    copy.parent.mkdir()
    copy.write_text("my notes")
    with pytest.raises(errors.RefusedError, match=r"mine\.bundle\.zip: already exists and is not this bundle"):
        run_init(root, bundle, force=True)
    assert copy.read_text() == "my notes"
    assert not (root / "configs" / "mine.yaml").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_write_restores_all_files(root: Path, tmp_path: Path, *, exists: bool) -> None:
    bundle = write_bundle(tmp_path / "mine.bundle.zip")
    if exists:
        run_init(root, bundle)
        write.write(bundle, bundles.make_bundle(5))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    # Makes the write of the config fail, which comes after that of the bundle.
    (root / "configs" / f".mine.yaml.{os.getpid()}").mkdir(parents=True)
    with pytest.raises(OSError, match=r"mine\.yaml"):
        run_init(root, bundle, force=True)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_an_empty_bundle_option_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write.write(root / "here", bundles.make_bundle())
    monkeypatch.chdir(root / "here")
    assert call("init", "--from", "", "--root", str(root)) == 2
    assert "no bundle given; pass --bundle=mymodel.bundle.zip\n" in capsys.readouterr().err
    assert not (root / "configs").exists()


def test_invalid_arguments_are_refused_and_nothing_is_written(root: Path) -> None:
    bundle = write_bundle(root / "mine.bundle.zip")
    for options, match in (
        ({"name": "My Model"}, '--name "My Model": invalid name of a config'),
        ({"name": "x" * 41}, "1 to 40 of a-z 0-9"),
        ({"name": "../evil"}, "invalid name of a config"),
        ({"features": root / "absent.json"}, "--features: cannot read .*absent"),
    ):
        with pytest.raises(errors.UsageError, match=match):
            run_init(root, bundle, **options)
    with pytest.raises(errors.UsageError, match="absent is not a folder; pass --root with the folder for configs/"):
        run_init(root / "absent", bundle)
    (root / "broken.bundle.zip").write_bytes(b"PK")
    with pytest.raises(errors.BundleError, match="is not a zip"):
        run_init(root, root / "broken.bundle.zip")
    with pytest.raises(errors.BundleError, match="does not exist"):
        run_init(root, root / "nothing.bundle.zip")
    assert not (root / "configs").exists()
    (root / "configs").write_text("")
    with pytest.raises(errors.UsageError, match="configs: is a link or not a folder"):
        run_init(root, bundle)


# ---- any names


@settings(max_examples=30)
@example(stem="CON", features=["a: b", "- c", "'quoted\"", "#d", "null", "0123", "1e3", "\u2028", "\x85", "\ufeff"])
@example(stem="123", features=["ж" * 12, "\U0001f600", "\u202e", "\\x", "%", "{a}", "[b]", "yes", "~", " "])
@given(
    stem=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30),
    features=st.lists(NAMES, min_size=1, max_size=5, unique=True),
)
def test_the_config_loads_for_any_names(
    tmp_path_factory: pytest.TempPathFactory, stem: str, features: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "mine").mkdir()
    features = [name for name in features if name not in {"id", "era", "data_type"} and not name.startswith("target")]
    features = features or ["a"]
    plain = bundles.make_bundle(len(features))
    steps = (post.make_step("neutralize", features=tuple(features)), post.make_step("rank"))
    write.write(folder / "plain.bundle.zip", dataclasses.replace(plain, features=tuple(features), post=steps))
    try:
        bundle = (folder / "plain.bundle.zip").rename(folder / "mine" / f"{stem}.bundle.zip")
    except OSError:  # a name that is too long, or that this file system does not take
        bundle = folder / "plain.bundle.zip"
    write_feature_sets(folder / "mine" / "features.json", **{"{odd}\n": features})
    _, loaded, text = run_init(folder / "mine", bundle)
    assert loaded.post in {steps, None}
    assert isinstance(loaded.bundle, Path)
    assert loaded.bundle.is_file()
    assert all(line.isprintable() for line in text.split("\n"))


@given(
    value=st.one_of(
        st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False, width=64), NAMES
    )
)
@example(value=1e-300)
@example(value=1e22)
@example(value=-0.0)
@example(value="4g")
def test_any_value_is_read_back(value: object) -> None:
    document = strict_yaml.read(f"key: {strict_yaml.write_flow(value)}\n".encode())
    assert document.problems == ()
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


def test_one_feature_is_written_in_the_singular(tmp_path: Path) -> None:
    match, (note,) = feature_match.match(["a"], [], root=tmp_path)
    assert note.startswith("`make data` fetches features.json into the cache; then pass --force")
    assert match == feature_match.Match(
        text="1 feature: no features.json found to look up their set (expected v5.3/features.json)", data_version=None
    )


# ---- the command


def test_the_command_prints_the_next_commands(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    write_bundle(root / "mine.bundle.zip")
    assert call("init", "--from", "mine.bundle.zip") == 0
    out, err = read_output(capsys)
    assert err == ""
    assert out.splitlines()[-3:] == [
        "next:",
        "  python -m builder pickle configs/mine.yaml",
        "  python -m builder validate configs/mine.yaml",
    ]
    assert call("init", "--from", "mine.bundle.zip") == 5
    assert "already exists; pass --force" in read_output(capsys)[1]
    (root / "Makefile").touch()
    assert call("init", "--from", "mine.bundle.zip", "--force", "--json") == 0
    answer = json.loads(read_output(capsys)[0])
    assert answer["next"] == ["make pickle CONFIG=configs/mine.yaml", "make validate CONFIG=configs/mine.yaml"]
    assert (answer["format"], answer["name"], answer["config"]) == (1, "mine", str(root / "configs" / "mine.yaml"))
    assert config.load(root / "configs" / "mine.yaml").image.ref == "default"


def test_from_another_folder_the_config_is_printed_with_its_full_path(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert call("init", "--from", str(write_bundle(root / "mine.bundle.zip")), "--root", str(root)) == 0
    assert f"python -m builder pickle {root}/configs/mine.yaml" in read_output(capsys)[0]
