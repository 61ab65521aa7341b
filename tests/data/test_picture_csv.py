"""One's own pictures, as a CSV file of paths and labels."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.data import load
from keras_nas.data.picture_csv import list_picture_csv
from keras_nas.errors import KerasNasError, UsageError
from tests.data.pictures import save


@pytest.fixture
def photos(tmp_path):
    """Pictures 000 to 019 in the folder `photos`, of the grey value of their number."""
    save(tmp_path / "photos", 20)
    return tmp_path


def listed(folder, rows, heading="path,label,split", name="list.csv"):
    path = folder / name
    path.write_text("\n".join([*([heading] if heading else []), *rows]) + "\n", encoding="utf-8")
    return path


def numbers(part):
    images, labels = part
    return images[:, 0, 0, 0].tolist(), labels.tolist()


SPLIT = [
    "photos/003.png,dog,train",
    "photos/001.png,cat,train",
    "photos/002.png,cat,val",
    "photos/005.png,dog,TEST",
]


def test_each_row_is_a_picture_of_its_part(photos):
    found = list_picture_csv(listed(photos, SPLIT)).read()
    assert found.class_names == ("cat", "dog")
    assert numbers(found.train) == ([3, 1], [1, 0])
    assert numbers(found.validation) == ([2], [0])
    assert numbers(found.test) == ([5], [1])


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("path,label", "photos/{:03}.png,{}"),
        ("Label;File", "{1};photos/{0:03}.png"),
        ("id\tfilename\tclass", "7\tphotos/{:03}.png\t{}"),
        ("what,kind", "photos/{:03}.png, {}"),
        ("", "photos/{:03}.png,{}"),
        ("\ufeffpath,label", '"photos/{:03}.png",{}'),
    ],
)
def test_columns_are_found_by_their_heading_or_their_place(photos, heading, row):
    rows = [row.format(number, name) for number, name in ((4, "b"), (9, "a"))]
    found = list_picture_csv(listed(photos, rows, heading)).read()
    assert found.class_names == ("a", "b")
    assert numbers(found.train) == ([4, 9], [1, 0])
    assert found.validation is found.test is None


def test_whole_numbers_are_the_classes_themselves(photos):
    rows = ["photos/001.png,10", "photos/002.png,2", "photos/003.png,0"]
    found = list_picture_csv(listed(photos, rows, "path,label")).read()
    assert found.class_names == tuple(map(str, range(11)))
    assert found.train[1].tolist() == [10, 2, 0]


def test_a_data_set_is_named_by_its_file_or_its_folder(photos):
    rows = [f"photos/{number:03}.png,{'ab'[number % 2]}" for number in range(20)]
    path = listed(photos, rows, "path,label")
    for place in (path, photos):
        data = load("csv", data_dir=place, batch_size=2, validation_share=0.25, pixels="0..255")
        assert (data.train_examples, data.validation_examples, data.test_examples) == (12, 4, 4)
        assert data.class_names == ("a", "b")
    images = np.concatenate([images.numpy()[:, 0, 0, 0] for images, _ in data.test])
    labels = np.concatenate([labels.numpy() for _, labels in data.test])
    np.testing.assert_array_equal(images % 2, labels)


def test_pictures_may_be_grey_and_of_several_sizes(photos):
    save(photos / "large", 2, 50, size=(9, 12))
    rows = ["photos/003.png,a", "large/000.png,b"]
    found = list_picture_csv(listed(photos, rows, "path,label")).read(image_size=5, channels=1)
    assert found.train[0].shape == (2, 5, 5, 1)
    assert numbers(found.train) == ([3, 50], [0, 1])


def test_what_is_missing_or_broken_can_be_skipped(photos, caplog):
    (photos / "photos" / "004.png").write_bytes(b"\x89PNG")
    rows = [f"photos/{n:03}.png,{'ab'[n % 2]}" for n in (1, 2, 3, 4, 99)]
    path = listed(photos, rows, "path,label")
    with pytest.raises(KerasNasError, match=r"004.png. cannot be read"):
        list_picture_csv(path).read()
    assert numbers(list_picture_csv(path).read(broken="skip").train) == ([1, 2, 3], [1, 0, 1])
    assert "2 of 5 pictures" in caplog.text
    assert "004.png" in caplog.text
    for number in (1, 3):
        (photos / "photos" / f"{number:03}.png").unlink()
    with pytest.raises(KerasNasError, match=r"No picture of class 'b' of .* can be read, to train"):
        list_picture_csv(path).read(broken="skip")


@pytest.mark.parametrize(
    ("rows", "heading", "message"),
    [
        ([], "", "must have a row for each picture. Received: no row"),
        ([], "path,label", "Received: a heading alone"),
        (["photos/001.png,a"], "path,label", r"two or more classes. Received: \['a'\]"),
        (["photos/001.png"], "path,label", "Line 2 .* must have a path and a label. .*001.png"),
        (["photos/001.png,a", ",b"], "path,label", "Line 3 .* must have a path and a label"),
        ([*SPLIT, "photos/006.png,cat,extra"], "path,label,split", "Line 6 .*Received: 'extra'"),
        ([*SPLIT, "photos/006.png,cow,test"], "path,label,split", "train on, cat, dog. .* 'cow'"),
        (["photos/001.png,a,test"], "path,label,split", "must have rows whose split is train"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(photos, rows, heading, message):
    with pytest.raises(KerasNasError, match=message) as caught:
        list_picture_csv(listed(photos, rows, heading)).read()
    assert "\n" not in str(caught.value)


def test_a_place_without_one_csv_file_is_refused(photos):
    with pytest.raises(UsageError, match=r"`data_dir` must name a .csv file, or its folder"):
        load("csv")
    with pytest.raises(KerasNasError, match=r"a folder that holds one alone. .* holds none"):
        load("csv", data_dir=photos)
    for name in ("a", "b"):
        listed(photos, SPLIT, name=f"{name}.csv")
    with pytest.raises(KerasNasError, match=r"holds a.csv and b.csv"):
        load("csv", data_dir=photos)
    (photos / "list.txt").write_text("")
    with pytest.raises(
        KerasNasError, match=r"or a .csv file. Received: .*list.txt, which is a file"
    ):
        load("csv", data_dir=photos / "list.txt")
    with pytest.raises(KerasNasError, match=r"holds the data. Received: .*a.csv, which is a file"):
        load("class_folders", data_dir=photos / "a.csv")
    (photos / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KerasNasError, match=r"a.csv. cannot be read as a CSV file in UTF-8"):
        load("csv", data_dir=photos / "a.csv")
