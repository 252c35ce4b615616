"""``init``: a config that is complete, loads whatever the names, and says what was found out."""

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
from builder.config import feature_match, init, init_text
from builder.config import model as config
from builder.config import strict_yaml as config_yaml
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


def put(path: Path, **changes: Any) -> Path:
    """Write a small bundle with some of it changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write.write(path, dataclasses.replace(bundles.make_bundle(), **changes))
    return path


def made(root: Path, bundle: Path, **wishes: Any) -> tuple[init.InitResult, config.Config, str]:
    """What init wrote: its own word, the config as it loads, and its text."""
    written = init.init(init.InitRequest(bundle=bundle, root=root, **wishes), cache=root.parent / "cache")
    return written, config.load(written.config), written.config.read_text(encoding="utf-8")


def sets(path: Path, **names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"feature_sets": names}))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def test_the_config_is_complete_and_says_what_it_is_of(root: Path) -> None:
    trained = {"framework": "lightgbm", "version": "4.6.0", "target": "target_ender", "eras": ("0001", "0002", "0574")}
    one = put(root / "My Model (v2).bundle.zip", trained=trained)
    written, loaded, text = made(root, one)
    assert written.name == "my_model_v2"
    assert written.config == root / "configs" / "my_model_v2.yaml"
    assert loaded.bundle == written.bundle == one
    assert loaded.image == config.ImageConfig(ref=init_text.REFERENCE)
    assert loaded.image.stand_in is None
    assert loaded.post == (post.make_step("rank"),)
    assert loaded.validate == config.ValidateConfig()
    assert loaded.upload is None
    assert "stand_in" not in text
    for line in (
        "# The model: mlp, 3 features, 21 parameters.",
        "# Trained with lightgbm 4.6.0, for target_ender, on 3 eras (0001 to 0574).",
        "# 3 features: no features.json is here to find their set in (v5.2/features.json would be)",
        "  - rank: {scope: era, ties: average}",
        "  rows: 6000",
        "  limits: {cpus: 1, memory: 4g, seconds: 600}  # the tournament's",
        "# upload:",
    ):
        assert line in text.splitlines()
    assert not list(root.rglob("*.bundle.zip"))[1:]


def test_it_is_what_the_schema_says(root: Path) -> None:
    _, _, text = made(root, put(root / "mine.bundle.zip"))
    assert "yaml-language-server" not in text
    schema = json.loads((ROOT / "configs" / "schema.json").read_text())
    (root / "configs" / "schema.json").write_text("{}")
    _, _, text = made(root, root / "mine.bundle.zip", force=True)
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml.safe_load(text), schema)
    opened = text.replace("# upload:\n#   model: my_slot", "upload:\n  model: my_slot")
    assert yaml.safe_load(opened)["upload"] == {"model": "my_slot"}


@pytest.mark.parametrize(
    ("known", "says", "version"),
    [
        ({"v5.2": {"small": ["feature_2", "feature_0", "feature_1"]}}, "exactly the set small of v5.2", "v5.2"),
        (
            {"v5.2": {"all": [f"feature_{n}" for n in range(9)], "medium": [f"feature_{n}" for n in range(5)]}},
            "some of the 5 of the set medium of v5.2",
            "v5.2",
        ),
        (
            {"v5.2": {"small": ["feature_0"], "mine": ["feature_1", "feature_2"]}},
            "in no one set of v5.2, though",
            "v5.2",
        ),
        (
            {"v5.0": {"all": ["feature_0", "a", "b"]}},
            "in none of the sets of v5.0, which lacks 2 of them: feature_1, feature_2",
            "v5.2",
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
            "v5.2",
        ),
    ],
    ids=range(7),
)
def test_the_features_are_found_in_their_set(
    root: Path, known: dict[str, dict[str, list[str]]], says: str, version: str
) -> None:
    for folder, names in known.items():
        sets(root / folder / "features.json", **names)
    written, loaded, text = made(root, put(root / "mine.bundle.zip"))
    assert written.notes[0].startswith("3 features: ")
    assert says in written.notes[0]
    assert f"# {written.notes[0]}" in text.splitlines()
    assert loaded.data_version == version


def test_a_benchmark_tells_the_data_version(root: Path) -> None:
    network = bundles.make_network(4)
    write.write(root / "mine.bundle.zip", bundles.make_bundle(3, ("v53_lgbm_ender20",), network=network))
    _, loaded, text = made(root, root / "mine.bundle.zip")
    assert loaded.data_version == "v5.3"
    assert "# Benchmark columns that it takes: v53_lgbm_ender20." in text


def test_a_features_file_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    file = sets(tmp_path / "data" / "v5.1" / "features.json", medium=["feature_0", "feature_1", "feature_2"])
    _, loaded, text = made(root, put(root / "mine.bundle.zip"), features=file)
    assert "exactly the set medium of v5.1" in text
    assert loaded.data_version == "v5.1"
    file.write_text("{}")
    with pytest.raises(errors.UsageError, match=r"--features: .*has faults"):
        made(root, root / "mine.bundle.zip", features=file, force=True)
    # One that was found by itself and cannot be read is passed over, and said.
    sets(root / "v5.2" / "features.json").write_text("nothing")
    written, _, _ = made(root, root / "mine.bundle.zip", force=True)
    assert any("v5.2/features.json has faults" in note for note in written.notes)


def test_what_does_not_bound_the_predictions_gets_a_rank_and_why(root: Path) -> None:
    for steps, why in (
        ((), "there is no step to limit the model's predictions to [0, 1]"),
        (
            (post.make_step("rank"), post.make_step("neutralize", features=("feature_1",))),
            "no step after neutralize limits the predictions",
        ),
    ):
        written, loaded, text = made(root, put(root / "mine.bundle.zip", post=steps), force=True)
        assert loaded.post == (*steps, post.make_step("rank"))
        assert f"  # Added by `init`: {why}" in text
        assert any(note.startswith(f"post: a rank was added: {why}") for note in written.notes)


def test_a_model_that_is_bounded_by_itself_needs_no_step(root: Path) -> None:
    network = bundles.make_network(3)
    last = network.layers[-1]
    assert last.op == "dense"
    top = dataclasses.replace(last, activation=activations.Activation(name="sigmoid"))
    bounded = dataclasses.replace(network, layers=(*network.layers[:-1], top))
    write.write(root / "mine.bundle.zip", dataclasses.replace(bundles.make_bundle(network=bounded), post=()))
    _, loaded, text = made(root, root / "mine.bundle.zip")
    assert loaded.post == ()
    assert "nothing, since the model's own lie in [0, 1]." in text


def test_all_steps_are_written_out_with_their_defaults(root: Path) -> None:
    names = tuple(f"feature_{place}" for place in range(700))
    steps = (
        post.make_step("gaussianize"),
        post.make_step("neutralize", features=names, proportion=0.5),
        post.make_step("neutralize", benchmarks=("v52_lgbm_ender20",), proportion=1e-7),
        post.make_step("blend", benchmark="v52_lgbm_ender20", weight=0.25),
        post.make_step("clip", low=-1e-12, high=2e8),
        post.make_step("rank", scope="frame", ties="first"),
    )
    _, loaded, text = made(root, put(root / "mine.bundle.zip", post=steps))
    assert loaded.post == steps
    assert max(map(len, text.splitlines())) <= 120
    assert loaded.data_version == "v5.2"


# ---- where the bundle is


def test_a_bundle_from_elsewhere_is_copied_and_said(root: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "elsewhere" / "mine.bundle.zip")
    written, loaded, _ = made(root, outside)
    place = root / "configs" / "bundles" / "mine.bundle.zip"
    assert loaded.bundle == written.bundle == place
    assert place.read_bytes() == outside.read_bytes()
    assert any("the bundle was copied to configs/bundles/mine.bundle.zip" in note for note in written.notes)
    # The same bundle as a folder is the same file.
    folder = put(tmp_path / "other" / "mine")
    assert made(root, folder, force=True)[1].bundle == place
    assert place.read_bytes() == outside.read_bytes()


def test_another_bundle_is_not_replaced_unasked(root: Path, tmp_path: Path) -> None:
    made(root, put(tmp_path / "mine.bundle.zip"))
    place = root / "configs" / "bundles" / "mine.bundle.zip"
    before = place.read_bytes()
    (root / "configs" / "mine.yaml").unlink()
    write.write(tmp_path / "mine.bundle.zip", bundles.make_bundle(5))
    with pytest.raises(errors.RefusedError, match=r"mine\.bundle\.zip: something else is there already"):
        made(root, tmp_path / "mine.bundle.zip")
    assert place.read_bytes() == before
    assert not (root / "configs" / "mine.yaml").exists()
    made(root, tmp_path / "mine.bundle.zip", force=True)
    assert place.read_bytes() == (tmp_path / "mine.bundle.zip").read_bytes()


def test_a_bundle_below_the_root_stays_where_it_is(root: Path) -> None:
    for bundle in (
        "a.bundle.zip",
        "models/b.bundle.zip",
        "configs/bundles/c",
        "configs/d.bundle.zip",
        "configs/bundle",
    ):
        written, loaded, _ = made(root, put(root / bundle), name="here", force=True)
        assert loaded.bundle == written.bundle == root / bundle
        assert len(written.notes) == 1


@pytest.mark.parametrize("name", ["a\x07b.bundle.zip", "abcdef$ghijkl.bundle.zip", "renamed.txt"])
def test_a_bundle_that_no_config_can_name_is_copied(root: Path, name: str) -> None:
    put(root / "plain.bundle.zip").rename(root / name)
    _, loaded, _ = made(root, root / name, name="plain")
    assert loaded.bundle == root / "configs" / "bundles" / "plain.bundle.zip"


# ---- what is refused


def test_a_config_that_is_there_is_not_replaced_unasked(root: Path) -> None:
    one = put(root / "mine.bundle.zip")
    written, _, text = made(root, one)
    written.config.write_text("mine")
    with pytest.raises(errors.RefusedError, match=r"mine\.yaml: is there already .*--force .*--name"):
        made(root, one)
    assert written.config.read_text() == "mine"
    assert made(root, one, force=True)[2] == text
    assert made(root, one, name="another")[0].config == root / "configs" / "another.yaml"


def test_a_config_that_is_a_folder_is_not_replaced(root: Path, tmp_path: Path) -> None:
    (root / "configs" / "mine.yaml").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(
            errors.RefusedError, match=r"mine\.yaml: is there already .* it is not a plain file: move it"
        ):
            made(root, put(tmp_path / "mine.bundle.zip"), force=force)
    assert [path.name for path in (root / "configs").iterdir()] == ["mine.yaml"]


def test_no_bundle_is_copied_through_a_link_or_over_what_is_none(root: Path, tmp_path: Path) -> None:
    one = put(tmp_path / "mine.bundle.zip")
    (tmp_path / "outside").mkdir()
    (root / "configs").mkdir()
    (root / "configs" / "bundles").symlink_to(tmp_path / "outside")
    with pytest.raises(errors.RefusedError, match="bundles: is a link or not a folder, and the bundle would be copied"):
        made(root, one, force=True)
    assert list((tmp_path / "outside").iterdir()) == []
    (root / "configs" / "bundles").unlink()
    place = root / "configs" / "bundles" / "mine.bundle.zip"
    place.parent.mkdir()
    place.write_text("my notes")
    with pytest.raises(errors.RefusedError, match=r"mine\.bundle\.zip: something else is there already"):
        made(root, one, force=True)
    assert place.read_text() == "my notes"
    assert not (root / "configs" / "mine.yaml").exists()


@pytest.mark.parametrize("there", [False, True])
def test_what_cannot_be_written_to_its_end_leaves_all_as_it_was(root: Path, tmp_path: Path, *, there: bool) -> None:
    one = put(tmp_path / "mine.bundle.zip")
    if there:
        made(root, one)
        write.write(one, bundles.make_bundle(5))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    # In the way of the config, which comes after the bundle.
    (root / "configs" / f".mine.yaml.{os.getpid()}").mkdir(parents=True)
    with pytest.raises(OSError, match=r"mine\.yaml"):
        made(root, one, force=True)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_no_bundle_at_all_is_told(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write.write(root / "here", bundles.make_bundle())
    monkeypatch.chdir(root / "here")
    assert call("init", "--from", "", "--root", str(root)) == 2
    assert "no bundle is named; name one with --bundle=mymodel.bundle.zip\n" in capsys.readouterr().err
    assert not (root / "configs").exists()


def test_what_cannot_be_is_told_and_nothing_is_written(root: Path) -> None:
    one = put(root / "mine.bundle.zip")
    for wishes, match in (
        ({"name": "My Model"}, '--name "My Model": cannot name a config'),
        ({"name": "x" * 41}, "1 to 40 of a-z 0-9"),
        ({"name": "../evil"}, "cannot name a config"),
        ({"features": root / "absent.json"}, "--features: .*cannot be read"),
    ):
        with pytest.raises(errors.UsageError, match=match):
            made(root, one, **wishes)
    with pytest.raises(errors.UsageError, match="absent: is not a folder; name the one that holds configs/"):
        made(root / "absent", one)
    (root / "broken.bundle.zip").write_bytes(b"PK")
    with pytest.raises(errors.BundleError, match="is not a zip"):
        made(root, root / "broken.bundle.zip")
    with pytest.raises(errors.BundleError, match="does not exist"):
        made(root, root / "nothing.bundle.zip")
    assert not (root / "configs").exists()
    (root / "configs").write_text("")
    with pytest.raises(errors.UsageError, match="configs: is a link or not a folder"):
        made(root, one)


# ---- whatever the names


@settings(max_examples=30)
@example(stem="CON", features=["a: b", "- c", "'quoted\"", "#d", "null", "0123", "1e3", "\u2028", "\x85", "\ufeff"])
@example(stem="123", features=["ж" * 12, "\U0001f600", "\u202e", "\\x", "%", "{a}", "[b]", "yes", "~", " "])
@given(
    stem=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30),
    features=st.lists(NAMES, min_size=1, max_size=5, unique=True),
)
def test_whatever_the_names_the_config_loads(
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
        one = (folder / "plain.bundle.zip").rename(folder / "mine" / f"{stem}.bundle.zip")
    except OSError:  # a name that is too long, or that this file system does not take
        one = folder / "plain.bundle.zip"
    sets(folder / "mine" / "features.json", **{"{odd}\n": features})
    _, loaded, text = made(folder / "mine", one)
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
    document = config_yaml.read(f"key: {config_yaml.flow(value)}\n".encode())
    assert document.problems == ()
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


def test_a_match_says_one_feature_in_the_singular(tmp_path: Path) -> None:
    found, _ = feature_match.match(["a"], [], root=tmp_path)
    assert found == feature_match.Match(
        text="1 feature: no features.json is here to find their set in (v5.2/features.json would be)", data_version=None
    )


# ---- by the command


def test_the_command_says_what_comes_next(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    put(root / "mine.bundle.zip")
    assert call("init", "--from", "mine.bundle.zip") == 0
    out, err = read_output(capsys)
    assert err == ""
    assert out.splitlines()[-3:] == [
        "next:",
        "  python -m builder pickle configs/mine.yaml",
        "  python -m builder validate configs/mine.yaml",
    ]
    assert call("init", "--from", "mine.bundle.zip") == 5
    assert "is there already and is not replaced; pass --force" in read_output(capsys)[1]
    (root / "Makefile").touch()
    assert call("init", "--from", "mine.bundle.zip", "--force", "--json") == 0
    answer = json.loads(read_output(capsys)[0])
    assert answer["next"] == ["make pickle CONFIG=configs/mine.yaml", "make validate CONFIG=configs/mine.yaml"]
    assert (answer["format"], answer["name"], answer["config"]) == (1, "mine", str(root / "configs" / "mine.yaml"))
    assert config.load(root / "configs" / "mine.yaml").image.ref == "default"


def test_from_elsewhere_the_config_is_named_in_full(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert call("init", "--from", str(put(root / "mine.bundle.zip")), "--root", str(root)) == 0
    assert f"python -m builder pickle {root}/configs/mine.yaml" in read_output(capsys)[0]
