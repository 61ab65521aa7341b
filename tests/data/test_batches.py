"""What `model.fit` takes, as batches for a search."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import EpochDataset, as_batches, from_arrays
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.search import Session, TrainConfig, train
from keras_nas.tasks import Classification
from keras_nas.training.stage import epoch_of, steps_of

X = np.arange(20, dtype="float64").reshape(10, 2)
Y = np.arange(10) % 5
ONE_HOT = np.eye(5)[Y]


def batches(data):
    return [tuple(np.asarray(part) for part in batch) for batch in data]


class Pieces(keras.utils.PyDataset):
    """Batches of three, and the last of one; its examples turn by one after each epoch."""

    def __init__(self, y=Y, x=X, **arguments):
        super().__init__(**arguments)
        self.x, self.y = x, y

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = slice(3 * index, 3 * index + 3)
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.x, self.y = np.roll(self.x, 1, axis=0), np.roll(self.y, 1, axis=0)


class TestArrays:
    def test_keep_their_order_and_the_last_batch(self):
        found = batches(as_batches((X, Y), 4))
        assert [len(x) for x, _ in found] == [4, 4, 2]
        x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)

    def test_are_shuffled_by_seed_and_epoch_alone(self):
        data = as_batches([X, Y], 4, shuffle=True, seed=3)
        again = as_batches([X, Y], 4, shuffle=True, seed=3)
        assert isinstance(data, EpochDataset)
        first, second = batches(data.epoch(0)), batches(data.epoch(1))
        assert [len(x) for x, _ in first] == [4, 4]
        assert not np.array_equal(first[0][0], second[0][0])
        np.testing.assert_array_equal(first[1][0], batches(again.epoch(0, start=1))[0][0])
        for x, y in first:
            np.testing.assert_array_equal((x[:, 0] / 2) % 5, y)

    @pytest.mark.parametrize("labels", [ONE_HOT, ONE_HOT.astype(bool), ONE_HOT.astype("int8")])
    def test_one_hot_labels_become_classes(self, labels):
        [(_, y)] = batches(as_batches((X, labels), 10))
        np.testing.assert_array_equal(y, Y)
        assert y.dtype == np.int64
        [(_, kept)] = batches(as_batches((X, labels), 10, sparse_labels=False))
        np.testing.assert_array_equal(kept, ONE_HOT)

    @pytest.mark.parametrize(
        "labels", [ONE_HOT * 0.8 + 0.04, np.maximum(ONE_HOT, np.eye(5)[0]), Y[:, None], X]
    )
    def test_other_targets_stay(self, labels):
        [(_, y)] = batches(as_batches((X, labels), 10))
        np.testing.assert_allclose(y, labels, rtol=1e-6)

    def test_inputs_keep_integers_or_get_the_dtype_that_is_asked_for(self):
        pixels = X.astype(np.uint8)
        assert batches(as_batches((pixels, Y)))[0][0].dtype == np.uint8
        assert batches(as_batches((pixels, Y), dtype="float32"))[0][0].dtype == np.float32

    def test_lists_and_tensors_are_arrays_too(self):
        [(x, y)] = batches(as_batches((tf.constant(X), Y.tolist())))
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)

    def test_part_into_training_and_validation_with_equal_shares(self):
        train, validation = from_arrays(
            np.repeat(X, 4, axis=0), np.repeat(ONE_HOT, 4, axis=0), batch_size=6,
            validation_share=0.25, seed=1,
        )  # fmt: skip
        held = np.concatenate([y for _, y in batches(validation)])
        assert np.bincount(held).tolist() == [2] * 5
        assert steps_of(train) == 5
        learned = np.concatenate([y for _, y in batches(train.epoch(0))])
        assert np.bincount(learned).tolist() == [6] * 5
        assert as_batches(train) is train

    def test_targets_that_are_no_classes_are_parted_at_random(self):
        train, validation = from_arrays(X, X / 3, batch_size=2, validation_share=0.2)
        seen = [x for part in (train, validation) for x, _ in batches(part)]
        assert sorted(np.concatenate(seen)[:, 0].tolist()) == X[:, 0].tolist()
        assert len(batches(validation)) == 1


class TestDatasets:
    def test_stay_as_they_are(self):
        dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
        assert as_batches(dataset) is dataset

    def test_one_hot_labels_become_classes(self):
        dataset = tf.data.Dataset.from_tensor_slices((X, ONE_HOT)).batch(4)
        found = batches(as_batches(dataset, dtype="float16"))
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), Y)
        assert found[0][0].dtype == np.float16
        kept = batches(as_batches(dataset, sparse_labels=False))
        np.testing.assert_array_equal(np.concatenate([y for _, y in kept]), ONE_HOT)

    def test_labels_that_turn_out_not_to_be_one_hot_end_in_an_error(self):
        labels = ONE_HOT.copy()
        labels[7] = 1
        dataset = tf.data.Dataset.from_tensor_slices((X, labels)).batch(4)
        with pytest.raises(tf.errors.InvalidArgumentError, match="one-hot in the first batch"):
            batches(as_batches(dataset))

    @pytest.mark.parametrize(
        ("dataset", "message"),
        [
            (lambda: tf.data.Dataset.from_tensor_slices((X, Y)), r"call `dataset.batch\(32\)`"),
            (lambda: tf.data.Dataset.from_tensor_slices((X, ONE_HOT)), r"\(2,\) and \(5,\)"),
            (lambda: tf.data.Dataset.from_tensors((X, Y)).repeat(), "repeats for ever"),
            (lambda: tf.data.Dataset.from_tensors(X), r"pairs \(x, y\). Received: TensorSpec"),
            (lambda: tf.data.Dataset.from_tensors((X, Y, Y)), "sample weights are not supported"),
        ],
    )
    def test_those_that_cannot_be_trained_on_are_refused(self, dataset, message):
        with pytest.raises(UsageError, match=message):
            as_batches(dataset())


class TestPyDatasets:
    @pytest.mark.parametrize("labels", [Y, ONE_HOT])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_give_their_batches_in_order(self, labels, workers):
        data = as_batches(Pieces(labels, workers=workers))
        assert steps_of(epoch_of(data, 0)) == 4
        for passes in (data, data.epoch(0)):
            found = batches(passes)
            assert [len(x) for x, _ in found] == [3, 3, 3, 1]
            np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X)
            np.testing.assert_array_equal(np.concatenate([y for _, y in found]), Y)
        assert data.element_spec[0].shape.as_list() == [None, 2]
        assert data.element_spec[1].shape.as_list() == [None]

    def test_end_an_epoch_before_the_next_begins(self):
        data = as_batches(Pieces())
        firsts = [batches(data.epoch(epoch))[0][0][0].tolist() for epoch in (0, 1, 1, 3)]
        assert firsts == [[0, 1], [18, 19], [18, 19], [14, 15]]
        resumed = as_batches(Pieces())
        np.testing.assert_array_equal(
            batches(resumed.epoch(3, start=1))[0][0], batches(data.epoch(3))[1][0]
        )

    def test_labels_that_turn_out_not_to_be_one_hot_end_in_an_error(self):
        labels = ONE_HOT.copy()
        labels[7] = 1
        with pytest.raises(tf.errors.OpError, match="Batch 2 of Pieces has others"):
            batches(as_batches(Pieces(labels)))

    def test_without_an_end_are_refused(self):
        class Endless(Pieces):
            @property
            def num_batches(self):
                return None

        with pytest.raises(UsageError, match=r"must have a length .* Received: none for Endless"):
            as_batches(Endless())

    def test_keras_fits_on_them(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        history = model.fit(as_batches(Pieces(ONE_HOT)), epochs=2, shuffle=False, verbose=0)
        assert len(history.history["loss"]) == 2


def test_a_network_trains_on_each():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5)])
    for data in (
        (X, ONE_HOT),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(5),
        Pieces(ONE_HOT),
    ):
        records = train(
            model, as_batches(data, 5, shuffle=True), as_batches((X, ONE_HOT), 5),
            TrainConfig(epochs=2), task=Classification.of(model), session=Session(progress="off"),
        )  # fmt: skip
        assert [record["stage"] for record in records] == ["train"] * 2
        assert all(0 <= record["val_top1"] <= 1 for record in records)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((X, Y[:-1]), KerasNasError, "same number of examples.* Received: 10 and 9"),
        ((X[:0], Y[:0]), KerasNasError, "not be empty. Received: 0 and 0"),
        ((np.where(X == 15, np.nan, X), Y), KerasNasError, "`x` must be finite.* example 7"),
        ((X, Y, Y), UsageError, "sample weights are not supported"),
        (X, UsageError, "Received: ndarray"),
        (([["a"]], [0]), UsageError, "`x` must be one array of numbers .* of <U1"),
        (({"a": X}, Y), UsageError, "give a tf.data.Dataset for several inputs"),
        (([[1, 2], [3]], [0, 1]), KerasNasError, "`x` must be one array: "),
        ("photos", UsageError, "Received: str"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(data, error, message):
    with pytest.raises(error, match=message) as caught:
        as_batches(data)
    assert "\n" not in str(caught.value)


def test_what_searches_take_already_is_left_alone():
    def by_epoch(epoch):
        return tf.data.Dataset.from_tensors((X, Y))

    assert as_batches(by_epoch) is by_epoch
