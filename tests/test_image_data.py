"""Image data: any folder of images, damaged files, splits and labels, and the built-in sets."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from anytime_core.data.locations import DATA_VARIABLE
from anytime_core.errors import DataError
from anytime_core.modality import Datasets, SampleDataset
from anytime_image import datasets
from anytime_image.config import DataConfig
from anytime_image.datasets import ImageFiles, load_datasets
from anytime_image.pixels import to_float, to_uint8
from anytime_image.reading import read_image

SIZES = [pytest.param(size, id=f"{size[0]}x{size[1]}") for size in [(8, 8), (5, 40), (40, 5), (1, 1), (31, 17)]]


def folder_config(root: Path, **changes: object) -> DataConfig:
    return DataConfig(name="folder", root=root, **{"size": 8, "color": "grey", **changes})


def write_grey(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)
    return path


def greys(dataset: SampleDataset) -> list[int]:
    """The grey value of each one-coloured image."""
    return [int(to_uint8(dataset[i]["x"])[0, 0, 0]) for i in range(len(dataset))]


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(size: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def huge_png() -> bytes:
    """A PNG of a hundred bytes that claims 100000 x 100000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


DAMAGED: Mapping[str, Callable[[], bytes]] = {
    "truncated.png": lambda: encoded(noise(), "PNG")[:800],
    "truncated.jpg": lambda: encoded(noise(), "JPEG")[:700],
    "text.png": lambda: b"this is no picture\n",
    "empty.png": lambda: b"",
    "huge.png": huge_png,
}


def test_all_bytes_survive_the_way_to_floating_point_and_back():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(values)), values)
    assert to_float(values)[[0, 255]].tolist() == [-1, 1]


def test_values_outside_the_range_are_clipped():
    assert to_uint8(torch.tensor([-7.0, -1.0, 1.0, 7.0])).tolist() == [0, 0, 255, 255]


WHITE = {
    "1.png": lambda size, white: Image.new("1", size, int(white)),
    "L.png": lambda size, white: Image.new("L", size, 255 * white),
    "LA.png": lambda size, white: Image.new("LA", size, (255 * white, 255)),
    "RGB.png": lambda size, white: Image.new("RGB", size, (255 * white,) * 3),
    "RGBA.png": lambda size, white: Image.new("RGBA", size, (255 * white,) * 3 + (255,)),
    "P.png": lambda size, white: Image.new("RGB", size, (255 * white,) * 3).convert("P"),
    "I;16.png": lambda size, white: Image.fromarray(np.full(size[::-1], 65535 * white, dtype=np.uint16)),
    "F.tif": lambda size, white: Image.fromarray(np.full(size[::-1], float(white), dtype=np.float32)),
    "CMYK.jpg": lambda size, white: Image.new("CMYK", size, (0, 0, 0, 255 * (not white))),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WHITE)
def test_white_and_black_of_every_mode_and_size_become_one_and_minus_one(name, channels, size, tmp_path):
    for white, expected in ((True, 1.0), (False, -1.0)):
        path = tmp_path / name
        WHITE[name](size, white).save(path)
        with Image.open(path) as image:
            assert image.mode == Path(name).stem
        x = to_float(read_image(path, (channels, 8, 8)))
        assert x.dtype == torch.float32
        assert x.shape == (channels, 8, 8)
        assert x.unique().tolist() == pytest.approx([expected], abs=0.02)


def test_sixteen_bit_greys_keep_their_order_and_range(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(values).save(tmp_path / "ramp.png")
    assert read_image(tmp_path / "ramp.png", (1, 16, 16)).flatten().tolist() == list(range(256))


@pytest.mark.parametrize("tall", [False, True])
def test_the_centre_is_kept_and_not_squeezed(tall, tmp_path):
    thirds = np.repeat(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8), 16, axis=0)
    stripes = np.broadcast_to(thirds, (16, 48, 3))
    Image.fromarray(np.ascontiguousarray(stripes.swapaxes(0, 1) if tall else stripes)).save(tmp_path / "stripes.png")
    image = read_image(tmp_path / "stripes.png", (3, 8, 8))
    assert image[:, 2:-2, 2:-2].flatten(1).unique(dim=1).flatten().tolist() == [0, 255, 0]


def test_a_photo_is_turned_upright(tmp_path):
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    assert read_image(tmp_path / "photo.png", (1, 8, 8))[0].tolist() == pixels[::-1].tolist()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_an_error_that_names_it(name, tmp_path):
    (tmp_path / name).write_bytes(DAMAGED[name]())
    with pytest.raises(DataError, match=name):
        read_image(tmp_path / name, (3, 8, 8))


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_path_without_a_file_is_an_error_that_names_it(kind, tmp_path):
    path = tmp_path / "picture.png"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(DataError, match=r"picture\.png"):
        read_image(path, (3, 8, 8))


def test_a_picture_that_claims_ten_billion_pixels_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "huge.png").write_bytes(huge_png())
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "huge.png", (1, 8, 8))
    # Pillow raises this from the header alone.
    assert isinstance(error.value.__cause__, Image.DecompressionBombError)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, kinds, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_a_very_long_picture_takes_no_more_memory_than_its_pixels(tmp_path):
    # Enlarged as a whole to 64 pixels of height, a line grows 4096-fold before all but its centre is cut away.
    pixels = 5000
    Image.new("L", (pixels, 1)).save(tmp_path / "line.png")
    with LargestTensor() as largest:
        assert read_image(tmp_path / "line.png", (1, 64, 64)).shape == (1, 64, 64)
    assert 64 * 64 <= largest.elements <= 4 * max(pixels, 64 * 64)


@settings(deadline=None, max_examples=60)
@given(
    form=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    end=st.integers(0, 5000),
)
def test_whatever_is_wrong_inside_a_file_is_a_data_error_and_nothing_else(form, changes, end, tmp_path_factory):
    data = bytearray(encoded(noise(), form)[:end])
    for position, value in changes:
        if data:
            data[position % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.png"
    path.write_bytes(data)
    try:
        image = read_image(path, (3, 8, 8))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert image.shape == (3, 8, 8)


def test_a_folder_of_unlike_images_becomes_samples_of_one_shape(tmp_path):
    for name, make in WHITE.items():
        make((13, 9), True).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image, and nobody minds")
    data = load_datasets(folder_config(tmp_path, color="rgb", size=16))
    assert len(data.train) + len(data.validation) == len(WHITE)
    for part in (data.train, data.validation):
        for index in range(len(part)):
            x = part[index]["x"]
            assert x.shape == (3, 16, 16)
            assert x.dtype == torch.float32
            assert x.min() > 0.98
            assert x.max() <= 1


def test_unreadable_files_are_left_out_named_and_counted_once(tmp_path, caplog):
    for value in range(30):
        write_grey(tmp_path / "train" / f"{value}.png", value)
    write_grey(tmp_path / "test" / "good.png", 99)
    for name, damaged in DAMAGED.items():
        (tmp_path / "train" / name).write_bytes(damaged())
    data = load_datasets(folder_config(tmp_path))
    assert sorted(greys(data.train)) == list(range(30))
    assert data.found is not None
    empty, left_out = data.found.passed_over
    damaged = DAMAGED.keys() - {"empty.png"}  # which is passed over before it is read
    assert (empty.reason, empty.count, left_out.count) == ("empty images", 1, len(damaged))
    for name in damaged:
        assert [text for text in left_out.examples if str(tmp_path / "train" / name) in text], f"{name} is not named"
    assert not caplog.records, "a warning would say it again"
    assert (data.found.train, data.found.validation) == (30, 1)


def test_labels_stay_with_their_images_when_files_are_left_out(tmp_path):
    for value in range(20):
        write_grey(tmp_path / "train" / f"class{value % 2}" / f"{value:02d}.png", value)
    (tmp_path / "train" / "class0" / "05.png").write_bytes(b"damaged")
    write_grey(tmp_path / "test" / "class0" / "a.png", 0)
    write_grey(tmp_path / "test" / "class1" / "b.png", 1)
    data = load_datasets(folder_config(tmp_path))
    assert len(data.train) == 20
    assert [int(data.train[i]["label"]) for i in range(20)] == [grey % 2 for grey in greys(data.train)]


def missing_folder(root: Path) -> Path:
    return root / "nowhere"


def empty_folder(root: Path) -> Path:
    (root / "notes.txt").write_text("no image")
    return root


def file_instead_of_folder(root: Path) -> Path:
    return write_grey(root / "picture.png", 1)


def single_image(root: Path) -> Path:
    write_grey(root / "picture.png", 1)
    return root


def nothing_readable(root: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        (root / name).write_bytes(b"damaged")
    return root


def empty_test_folder(root: Path) -> Path:
    write_grey(root / "train" / "a.png", 1)
    (root / "test").mkdir()
    return root


@pytest.mark.parametrize(
    "prepare",
    [missing_folder, empty_folder, file_instead_of_folder, single_image, nothing_readable, empty_test_folder],
)
def test_a_folder_without_enough_images_is_an_error_that_names_it(prepare, tmp_path):
    root = prepare(tmp_path)
    with pytest.raises(DataError) as error:
        load_datasets(folder_config(root))
    assert str(root) in str(error.value)


def test_a_folder_that_is_not_given_is_asked_for():
    with pytest.raises(DataError, match=r"data\.root"):
        load_datasets(DataConfig(name="folder"))


def test_images_in_one_flat_folder_have_no_labels(tmp_path):
    for value in range(10):
        write_grey(tmp_path / f"{value}.png", value)
    data = load_datasets(folder_config(tmp_path))
    assert data.classes == ()
    assert data.train[0].keys() == {"x"}
    assert data.train.batch([0]).keys() == {"x"}


def test_folders_of_classes_become_labels_however_deep_the_images_lie(tmp_path):
    grey_of = {"cats": 10, "dogs": 20, "mice": 30}
    for name, grey in grey_of.items():
        for number in range(8):
            write_grey(tmp_path / name / ("deeper" if number % 2 else ".") / f"{number}.png", grey)
    data = load_datasets(folder_config(tmp_path, validation_share=0.3))
    assert data.classes == tuple(grey_of)
    for part in (data.train, data.validation):
        assert len(part) > 0
        labels = [int(part[i]["label"]) for i in range(len(part))]
        assert [grey_of[data.classes[label]] for label in labels] == greys(part)


def test_what_was_found_comes_with_the_data_and_their_sizes(tmp_path, monkeypatch):
    for name, size in {"train/a/0": (8, 6), "train/a/1": (8, 6), "train/b/0": (30, 20), "val/a/0": (9, 9)}.items():
        write_grey(tmp_path / f"{name}.png", 1)
        Image.new("L", size).save(tmp_path / f"{name}.png")
    (tmp_path / "train" / "b" / "damaged.png").write_bytes(b"damaged")
    (tmp_path / "train" / "b" / "0.heic").write_bytes(b"photo")
    unread = ("files with suffix .heic, which is not read", "save them as PNG or JPEG")
    for limit, usable, further in ((2**31, 1, [("images that cannot be read", "")]), (0, 2, [])):
        monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
        found = load_datasets(folder_config(tmp_path)).found
        assert found.forms == {"8x6": 2, "30x20": 1, "9x9": 1}
        assert found.classes == {"a": (2, 1), "b": (usable, 0)}
        assert [(entry.reason, entry.way_out) for entry in found.passed_over] == [unread, *further]


def test_a_folder_too_large_for_memory_gives_the_same_items_from_its_files(tmp_path, monkeypatch):
    for value in range(12):
        write_grey(tmp_path / "ab"[value % 2] / f"{value}.png", value)
    in_memory = load_datasets(folder_config(tmp_path))
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    streamed = load_datasets(folder_config(tmp_path))
    assert isinstance(streamed.train, ImageFiles)
    assert streamed.classes == in_memory.classes
    for one, other in ((in_memory.train, streamed.train), (in_memory.validation, streamed.validation)):
        assert len(one) == len(other)
        for index in range(len(one)):
            assert torch.equal(one[index]["x"], other[index]["x"])
            assert int(one[index]["label"]) == other[index]["label"]


def test_a_streamed_file_that_cannot_be_read_is_an_error_of_its_own_item(tmp_path):
    files = [write_grey(tmp_path / f"{value}.png", value) for value in (10, 11, 12)]
    files[1].write_bytes(b"damaged")
    streamed = ImageFiles(files, [0, 1, 2], (1, 8, 8))
    with pytest.raises(DataError, match=re.escape(str(files[1]))):
        streamed[1]
    assert [(greys([streamed[i]])[0], streamed[i]["label"]) for i in (0, 2)] == [(10, 0), (12, 2)]


@pytest.fixture(scope="module")
def digits() -> Datasets:
    return load_datasets(DataConfig())


def test_digits_are_small_grey_and_labelled(digits):
    assert digits.classes == tuple("0123456789")
    assert len(digits.train) + len(digits.validation) == 1797
    for part in (digits.train, digits.validation):
        batch = part.batch(range(len(part)))
        assert batch["x"].shape == (len(part), 1, 8, 8)
        assert batch["x"].dtype == torch.float32
        assert (batch["x"].min(), batch["x"].max()) == (-1, 1)
        assert batch["label"].dtype == torch.int64
        assert set(batch["label"].tolist()) == set(range(10))


def test_digits_can_be_had_larger_and_in_colour(digits):
    large = load_datasets(DataConfig(size=16, color="rgb"))
    assert large.train[0]["x"].shape == (3, 16, 16)
    assert torch.equal(large.train[0]["x"][0], large.train[0]["x"][2])
    assert len(large.train) == len(digits.train)
    assert large.train[5]["label"] == digits.train[5]["label"]


def test_rows_of_a_batch_are_the_items(digits):
    indices = [5, 0, 7, 5]
    batch = digits.train.batch(indices)
    for row, index in enumerate(indices):
        item = digits.train[index]
        assert item.keys() == batch.keys()
        assert torch.equal(batch["x"][row], item["x"])
        assert batch["label"][row] == item["label"]


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """A machine without any data set: empty home, store and working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "store"))
    return tmp_path


def write_mnist(root: Path, *, train: int = 5, test: int = 3) -> None:
    """MNIST in its own format with one-coloured images: image i has the grey value i and the label i % 10."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, number in (("train", train), ("t10k", test)):
        images = b"".join(bytes([i]) * 28 * 28 for i in range(number))
        labels = bytes(i % 10 for i in range(number))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, number, 28, 28) + images)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, number) + labels)


def test_a_missing_data_set_says_where_it_was_looked_for_and_what_to_set(nowhere):
    with pytest.raises(DataError) as error:
        load_datasets(DataConfig(name="mnist"))
    places = [Path("store/mnist"), Path("data/mnist"), Path("home/.cache/anytime/mnist")]
    for part in ("'mnist'", "data.root", "data.download", *map(str, places)):
        assert part in str(error.value)


def test_only_the_given_folder_is_searched(nowhere):
    write_mnist(nowhere / "store" / "mnist")
    with pytest.raises(DataError) as error:
        load_datasets(DataConfig(name="mnist", root=nowhere / "given"))
    assert "not found in given: set data.root=DIR" in str(error.value)
    assert "store" not in str(error.value)


@pytest.mark.parametrize("place", ["store/mnist", "data/mnist", "home/.cache/anytime/mnist"])
def test_a_data_set_is_found_in_each_of_the_usual_places(place, nowhere):
    write_mnist(nowhere / place)
    data = load_datasets(DataConfig(name="mnist"))
    assert greys(data.train) == [0, 1, 2, 3, 4]
    assert greys(data.validation) == [0, 1, 2]
    assert [int(data.train[i]["label"]) for i in range(5)] == [0, 1, 2, 3, 4]
    assert len(data.classes) == 10
    assert data.train[0]["x"].shape == (1, 28, 28)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00\x00\x08\x03\x00\x00\x00\x05", b"\x00" * 64])
def test_a_damaged_data_set_is_named_with_its_place(content, nowhere):
    root = nowhere / "store" / "mnist"
    write_mnist(root)
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=r"store/mnist, .*\(store/mnist: "):
        load_datasets(DataConfig(name="mnist"))
