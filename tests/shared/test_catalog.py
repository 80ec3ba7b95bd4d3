"""Which models the catalog finds, and which file a name means."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import pytest

from shared.catalog import Catalog, ModelNotFoundError
from tests.shared.gguf_files import write_gguf, write_split


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def catalog(models_dir: Path, home: Path) -> Catalog:
    return Catalog(models_dir, {"HOME": str(home)})


def variants(catalog: Catalog) -> dict[str, list[str]]:
    return {model.key: [variant.label for variant in model.variants] for model in catalog.scan()}


def test_folders_that_do_not_exist_hold_no_models(catalog: Catalog) -> None:
    assert catalog.scan() == ()
    with pytest.raises(ModelNotFoundError, match="available: none"):
        catalog.find("anything")


def test_the_demo_model_is_there_in_two_variants(home: Path) -> None:
    catalog = Catalog(Path(__file__).resolve().parents[2] / "models", {"HOME": str(home)})
    assert catalog.find("llamarelay/spark").id == "llamarelay/spark@q8_0"
    assert catalog.find("spark@f16").path.name == "spark-F16.gguf"


def test_the_preferred_variant_is_the_default(catalog: Catalog, models_dir: Path) -> None:
    for quantization in ("F16", "Q8_0", "Q4_K_M", "Q3_K_L"):
        write_gguf(models_dir / "google" / "gemma" / f"gemma-{quantization}.gguf")
    assert variants(catalog) == {"google/gemma": ["q4_k_m", "q8_0", "f16", "q3_k_l"]}
    assert catalog.find("google/gemma").label == "q4_k_m"
    assert catalog.find("google/gemma@q3_k_l").path.name == "gemma-Q3_K_L.gguf"


def test_the_quantization_comes_from_the_header_if_the_name_has_none(catalog: Catalog, models_dir: Path) -> None:
    folder = models_dir / "org" / "model"
    write_gguf(folder / "one.gguf", file_type=gguf.LlamaFileType.MOSTLY_Q5_K_M)
    write_gguf(folder / "two.gguf", file_type=None)
    assert sorted(variants(catalog)["org/model"]) == ["f16", "q5_k_m"]


def test_what_lies_beside_the_models_is_ignored(catalog: Catalog, models_dir: Path) -> None:
    write_gguf(models_dir / "org" / "model" / "m-F16.gguf")
    write_gguf(models_dir / "org" / "model" / ".hidden" / "m-Q8_0.gguf")
    write_gguf(models_dir / "org" / "model" / "lora.gguf", extra=lambda w: w.add_type(gguf.GGUFType.ADAPTER))
    (models_dir / "pipeline").mkdir()
    (models_dir / "pipeline" / "train.py").write_text("")
    (models_dir / "loop").symlink_to(models_dir, target_is_directory=True)
    assert variants(catalog) == {"org/model": ["f16"]}


def test_files_higher_or_lower_than_the_layout_are_models_too(catalog: Catalog, models_dir: Path) -> None:
    write_gguf(models_dir / "tiny-Q8_0.gguf")
    write_gguf(models_dir / "mine" / "m-F16.gguf")
    write_gguf(models_dir / "org" / "model" / "Q8_0" / "m.gguf")
    write_gguf(models_dir / "org" / "model" / "BF16" / "m.gguf")
    assert variants(catalog) == {"tiny": ["q8_0"], "mine": ["f16"], "org/model": ["q8_0", "bf16"]}


def test_a_projector_belongs_to_its_model(catalog: Catalog, models_dir: Path) -> None:
    folder = models_dir / "org" / "vision"
    write_gguf(folder / "vision-Q8_0.gguf")
    write_gguf(folder / "mmproj-vision-F32.gguf", architecture="clip")
    write_gguf(folder / "mmproj-vision-F16.gguf", architecture="clip")
    (model,) = catalog.scan()
    assert [variant.label for variant in model.variants] == ["q8_0"]
    assert model.projector == folder / "mmproj-vision-F16.gguf"


def test_the_parts_of_a_split_file_are_one_variant(catalog: Catalog, models_dir: Path) -> None:
    paths = write_split(models_dir / "org" / "large", "large-Q4_K_M", 3, tensors_each=2)
    (model,) = catalog.scan()
    (variant,) = model.variants
    assert variant.broken is None
    assert variant.id == "org/large@q4_k_m"
    assert variant.paths == tuple(paths)
    assert variant.path == paths[0]
    assert variant.size_bytes == sum(path.stat().st_size for path in paths)
    assert variant.header is not None
    assert variant.header.parameters == 3 * 2 * 256
    assert variant.header.architecture == "qwen3"


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_missing_part_is_named(gone: int, catalog: Catalog, models_dir: Path) -> None:
    write_split(models_dir / "org" / "large", "large-F16", 3)[gone - 1].unlink()
    (model,) = catalog.scan()
    assert model.default is None
    assert model.variants[0].broken == f"part {gone} of 3 is missing"
    with pytest.raises(ModelNotFoundError, match=f"org/large is broken: part {gone} of 3 is missing"):
        catalog.find("org/large")


def test_a_part_under_another_count_is_noticed(catalog: Catalog, models_dir: Path) -> None:
    folder = models_dir / "org" / "large"
    for path in write_split(folder, "large-F16", 2):
        path.rename(path.with_name(path.name.replace("-of-00002", "-of-00003")))
    write_split(folder, "other-F16", 3)[2].rename(folder / "large-F16-00003-of-00003.gguf")
    reasons = {variant.broken for variant in catalog.scan()[0].variants}
    assert reasons == {"part 3 of 3 is missing", "it says that it has 2 parts, its name says 3"}


def test_a_broken_file_stops_nothing(catalog: Catalog, models_dir: Path) -> None:
    folder = models_dir / "org" / "model"
    whole = write_gguf(folder / "m-Q8_0.gguf")
    (folder / "m-Q4_K_M.gguf").write_bytes(whole.read_bytes()[:-100])
    (folder / "m-Q2_K.gguf").write_bytes(b"no model")
    (folder / "m-F32.gguf").symlink_to(folder / "nowhere")
    (model,) = catalog.scan()
    broken = {variant.label: variant.broken for variant in model.variants}
    size = whole.stat().st_size
    assert broken == {
        "q8_0": None,
        "q4_k_m": f"truncated: {size - 100} of {size} bytes",
        "q2_k": "not a GGUF file",
        "f32": "a link to a file that is gone",
    }
    assert catalog.find("org/model").label == "q8_0"
    with pytest.raises(ModelNotFoundError, match=r"q4_k_m is broken: truncated.*available: org/model@q8_0"):
        catalog.find("org/model@q4_k_m")


def test_a_file_without_weights_is_broken(catalog: Catalog, models_dir: Path) -> None:
    write_gguf(models_dir / "org" / "vocabulary" / "v.gguf", tensors=0)
    assert catalog.scan()[0].variants[0].broken == "it holds no weights"


def test_names_are_found_in_any_case_and_without_the_publisher(catalog: Catalog, models_dir: Path) -> None:
    write_gguf(models_dir / "Org" / "Model-X" / "x-Q8_0.gguf")
    write_gguf(models_dir / "Org" / "Model-X" / "x-F16.gguf")
    for name in ("Org/Model-X", "org/model-x", "MODEL-X", " model-x@Q8_0 ", "org/MODEL-x@q8_0"):
        assert catalog.find(name).id == "Org/Model-X@q8_0"


def test_a_name_that_two_publishers_use_is_refused(catalog: Catalog, models_dir: Path) -> None:
    write_gguf(models_dir / "a" / "same" / "m-F16.gguf")
    write_gguf(models_dir / "b" / "same" / "m-F16.gguf")
    with pytest.raises(ModelNotFoundError, match="several models are called 'same'; available: a/same, b/same"):
        catalog.find("same")
    assert catalog.find("b/same").model == "b/same"


def test_an_unknown_name_is_answered_with_the_closest_first(catalog: Catalog, models_dir: Path) -> None:
    for name in ("alpha", "spark", "omega"):
        write_gguf(models_dir / "org" / name / "m-F16.gguf")
    with pytest.raises(ModelNotFoundError) as error:
        catalog.find("sparc")
    assert error.value.available[0] == "org/spark"
    assert set(error.value.available) == {"org/alpha", "org/spark", "org/omega"}
    with pytest.raises(ModelNotFoundError, match="org/spark has no variant 'q1'; available: org/spark@f16"):
        catalog.find("spark@q1")


def test_lm_studio_and_the_hub_cache_come_after_the_models_folder(
    catalog: Catalog, models_dir: Path, home: Path
) -> None:
    write_gguf(models_dir / "org" / "model" / "m-Q8_0.gguf")
    write_gguf(home / ".lmstudio" / "models" / "Org" / "Model" / "m-Q8_0.gguf")
    write_gguf(home / ".lmstudio" / "models" / "Org" / "Model" / "m-F16.gguf")
    write_gguf(home / ".cache" / "lm-studio" / "models" / "old" / "model" / "m-F16.gguf")
    sources = {variant.id: variant.source for model in catalog.scan() for variant in model.variants}
    assert sources == {
        "org/model@q8_0": "models_dir",
        "org/model@f16": "lm_studio",
        "old/model@f16": "lm_studio",
    }


def hub_file(hub: Path, revision: str, name: str) -> Path:
    """A file in the cache of org/model: a link to a blob, as huggingface_hub makes it."""
    repository = hub / "models--org--model"
    blob = write_gguf(repository / "blobs" / f"{revision}-{name}".replace("/", "-"))
    link = repository / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def test_the_hub_cache_is_followed_through_its_links(catalog: Catalog, home: Path) -> None:
    hub = home / ".cache" / "huggingface" / "hub"
    hub_file(hub, "old", "m-Q8_0.gguf")
    hub_file(hub, "old", "m-F16.gguf")
    current = hub_file(hub, "new", "m-Q8_0.gguf")
    nested = hub_file(hub, "new", "BF16/m-BF16.gguf")
    (hub / "models--org--model" / "refs").mkdir()
    (hub / "models--org--model" / "refs" / "main").write_text("new")
    (hub / "datasets--org--data" / "snapshots").mkdir(parents=True)
    assert variants(catalog) == {"org/model": ["q8_0", "bf16", "f16"]}
    assert catalog.find("org/model").path == current
    assert catalog.find("org/model@bf16").path == nested
    (variant,) = (v for model in catalog.models for v in model.variants if v.label == "q8_0")
    assert variant.source == "hugging_face"


@pytest.mark.parametrize(
    ("variable", "value", "hub"),
    [
        ("HF_HUB_CACHE", "elsewhere", "elsewhere"),
        ("HF_HOME", "hf", "hf/hub"),
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
    ],
)
def test_the_hub_cache_is_where_the_environment_says(
    variable: str, value: str, hub: str, models_dir: Path, tmp_path: Path
) -> None:
    hub_file(tmp_path / hub, "main", "m-F16.gguf")
    environ = {"HOME": str(tmp_path / "home"), variable: str(tmp_path / value)}
    assert [model.key for model in Catalog(models_dir, environ).scan()] == ["org/model"]


def test_a_header_is_read_again_only_if_the_file_changed(
    catalog: Catalog, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(models_dir / "org" / "model" / "m.gguf")
    first = catalog.scan()
    read: list[Path] = []
    from shared.catalog import reading

    original = reading.read_header
    monkeypatch.setattr(reading, "read_header", lambda path: read.append(path) or original(path))
    assert catalog.scan() == first
    assert read == []
    write_gguf(path, tensors=5)
    assert catalog.scan()[0].variants[0].header.parameters == 5 * 256
    assert read == [path]
    path.unlink()
    assert catalog.scan() == ()
