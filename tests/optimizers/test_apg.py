from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from sklearn.linear_model import Lasso

from keras_nas.optimizers import APGNAG, SparseValues


def soft_threshold(z, threshold, nonnegative):
    if nonnegative:
        return np.maximum(z - threshold, 0)
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0)


def original_apg(gradient, start, rate, gamma, steps, nonnegative=True):
    """Eq. (10) to (12), written down as printed. Returns λ_1 … λ_steps."""
    before, now = start, start
    path = []
    for t in range(1, steps + 1):
        d = now + (t - 2) / (t + 1) * (now - before)
        z = d - rate * gradient(d)
        before, now = now, soft_threshold(z, rate * gamma, nonnegative)
        path.append(now)
    return np.array(path)


@pytest.fixture(scope="module")
def lasso():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 12))
    truth = np.array([2.0, 0, 0, 1.5, 0, -1, 0, 0, 0.7, 0, 0, 0])
    y = x @ truth + 0.1 * rng.normal(size=60)
    return x, y


def lasso_gradient(x, y):
    hessian, constant = x.T @ x / len(y), x.T @ y / len(y)
    return lambda w: hessian @ w - constant


def run(optimizer, variable, x, y, steps):
    hessian, constant = x.T @ x / len(y), x.T @ y / len(y)
    optimizer.build([variable])

    @tf.function
    def step():
        gradient = ops.matmul(hessian, variable) - constant
        optimizer.apply([gradient], [variable])

    path = []
    for _ in range(steps):
        step()
        path.append(optimizer.sparse_value(variable))
    return np.array(path)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_iterates_are_those_of_the_original_form(lasso, nonnegative):
    gradient = lasso_gradient(*lasso)
    variable = keras.Variable(np.ones(12), dtype="float64")
    optimizer = APGNAG(0.125, gamma=0.25, nonnegative=nonnegative)
    path = run(optimizer, variable, *lasso, 200)
    expected = original_apg(gradient, np.ones(12), 0.125, 0.25, 200, nonnegative)
    # μ_t is computed in float32, the rest in float64.
    np.testing.assert_allclose(path, expected, atol=1e-6)
    assert np.array_equal(path == 0, expected == 0)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("momentum", [None, 0.5])
def test_optimum_is_the_one_scikit_learn_finds(lasso, nonnegative, momentum):
    x, y = lasso
    solver = Lasso(alpha=0.25, fit_intercept=False, positive=nonnegative, tol=1e-12)
    best = solver.fit(x, y).coef_
    variable = keras.Variable(np.ones(12), dtype="float64")
    optimizer = APGNAG(0.125, gamma=0.25, nonnegative=nonnegative, momentum=momentum)
    found = run(optimizer, variable, x, y, 800)[-1]
    np.testing.assert_allclose(found, best, atol=1e-6)
    assert np.array_equal(found == 0, best == 0)
    assert 0 < np.sum(found == 0) < 12


def test_lookahead_is_where_the_next_gradient_is_taken(lasso):
    gradient = lasso_gradient(*lasso)
    variable = keras.Variable(np.ones(12), dtype="float64")
    optimizer = APGNAG(0.125, gamma=0.25)
    run(optimizer, variable, *lasso, 5)
    path = original_apg(gradient, np.ones(12), 0.125, 0.25, 5)
    t = 6
    expected = path[-1] + (t - 2) / (t + 1) * (path[-1] - path[-2])
    np.testing.assert_allclose(variable.numpy(), expected, atol=1e-6)


def test_golden_trajectory():
    # By hand, η = 0.5, γ = 0.2, g = 1, two elements from 1 and 0.5, μ_0 = -1/2, μ_1 = 0:
    # t = 1: z = (0.5, 0), S = (0.4, 0), v = S - λ' = (-0.6, -0.5), λ' = S + 0 v = (0.4, 0).
    # t = 2, g = (-1, 0): z = (0.9, 0), S = (0.8, 0), v = (0.4, 0) + 0 = (0.4, 0), μ_2 = 1/4:
    # λ' = (0.9, 0).
    # t = 3, g = (1, -1): z = (0.4, 0.5), S = (0.3, 0.4), v = (-0.6, 0.4) + 1/4 (0.4, 0)
    # = (-0.5, 0.4), μ_3 = 2/5: λ' = (0.1, 0.56).
    variable = keras.Variable([1.0, 0.5])
    optimizer = APGNAG(0.5, gamma=0.2)
    steps = [
        ([1.0, 1.0], [0.4, 0.0], [0.4, 0.0]),
        ([-1.0, 0.0], [0.8, 0.0], [0.9, 0.0]),
        ([1.0, -1.0], [0.3, 0.4], [0.1, 0.56]),
    ]
    for gradient, sparse, lookahead in steps:
        optimizer.apply([ops.array(gradient)], [variable])
        np.testing.assert_allclose(optimizer.sparse_value(variable), sparse, atol=1e-6)
        np.testing.assert_allclose(variable.numpy(), lookahead, atol=1e-6)


def test_momentum_pushes_the_lookahead_off_zero_but_not_the_solution():
    variable = keras.Variable([1.0])
    optimizer = APGNAG(0.5, gamma=0.2, momentum=0.9)
    optimizer.apply([ops.array([2.0])], [variable])
    assert optimizer.sparse_value(variable)[0] == 0.0
    assert variable.numpy()[0] == pytest.approx(-0.9)
    clipped = APGNAG(0.5, gamma=0.2, momentum=0.9, clip_lookahead=True)
    variable.assign([1.0])
    clipped.apply([ops.array([2.0])], [variable])
    assert variable.numpy()[0] == 0.0


def test_gamma_may_differ_between_elements_and_change_without_a_new_trace():
    variable = keras.Variable([1.0, 1.0])
    optimizer = APGNAG(0.5, gamma=0.0)
    optimizer.build([variable])
    traces = []

    @tf.function
    def step():
        traces.append(1)
        optimizer.apply([ops.zeros(2)], [variable])

    step()
    np.testing.assert_array_equal(optimizer.sparse_value(variable), [1.0, 1.0])
    optimizer.set_gamma(variable, [0.2, 4.0])
    step()
    np.testing.assert_allclose(optimizer.sparse_value(variable), [0.9, 0.0], atol=1e-6)
    np.testing.assert_allclose(optimizer.get_gamma(variable), [0.2, 4.0])
    optimizer.set_gamma(variable, 0.5)
    np.testing.assert_allclose(optimizer.get_gamma(variable), [0.5, 0.5])
    assert len(traces) == 1


def test_sparse_values_are_swapped_in_and_out():
    variable = keras.Variable([1.0, 1.0])
    optimizer = APGNAG(0.5, gamma=0.2, momentum=0.9)
    optimizer.apply([ops.array([2.0, 0.1])], [variable])
    lookahead = variable.numpy().copy()
    with optimizer.sparse_values():
        np.testing.assert_array_equal(variable.numpy(), optimizer.sparse_value(variable))
        assert variable.numpy()[0] == 0.0
    np.testing.assert_array_equal(variable.numpy(), lookahead)


def test_finalize_leaves_the_solution_and_restarts_the_momentum():
    variable = keras.Variable([1.0, 1.0])
    optimizer = APGNAG(0.5, gamma=0.2, momentum=0.9)
    optimizer.apply([ops.array([2.0, 0.1])], [variable])
    solution = optimizer.sparse_value(variable)
    optimizer.finalize_variable_values([variable, keras.Variable(3.0)])
    np.testing.assert_array_equal(variable.numpy(), solution)
    optimizer.apply([ops.array([0.0, -0.2])], [variable])
    # Second element: z = 0.85 + 0.1 = 0.95, S = 0.85, v = 0, λ' = 0.85.
    np.testing.assert_allclose(variable.numpy(), [0.0, 0.85], atol=1e-6)


def test_finalize_before_the_first_step_changes_nothing():
    variable = keras.Variable([1.0])
    optimizer = APGNAG(0.5, gamma=0.2)
    optimizer.finalize_variable_values([variable])
    optimizer.build([variable])
    variable.assign([0.3])
    optimizer.finalize_variable_values([variable])
    assert variable.numpy()[0] == pytest.approx(0.3)
    assert optimizer.sparse_value(variable)[0] == pytest.approx(0.3)


def test_config_round_trip():
    optimizer = APGNAG(
        learning_rate=0.25,
        gamma=0.5,
        momentum=0.8,
        nonnegative=False,
        clip_lookahead=True,
        clipnorm=2.0,
    )
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, APGNAG)
    assert copy.get_config() == optimizer.get_config()
    assert copy.get_config()["momentum"] == 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": -1.0}, "`gamma` must be 0 or more"),
        ({"momentum": 1.0}, r"`momentum` must be `None` or in the range \[0, 1\)"),
        ({"weight_decay": 1e-4}, "`weight_decay` must not be set"),
        ({"use_ema": True}, "`use_ema` must not be set"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        APGNAG(0.1, **arguments)


def test_wrong_gamma_and_variable():
    variable = keras.Variable([1.0, 1.0])
    optimizer = APGNAG(0.1)
    with pytest.raises(ValueError, match="must be built first"):
        optimizer.set_gamma(variable, 0.1)
    optimizer.build([variable])
    with pytest.raises(ValueError, match=r"broadcast to the variable's shape \(2,\)"):
        optimizer.set_gamma(variable, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="0 or more everywhere"):
        optimizer.set_gamma(variable, [1.0, -2.0])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.sparse_value(keras.Variable([1.0]))


def linear_model(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model.compile(optimizer=optimizer, loss="mse")
    return model


def kernel(model):
    return model.layers[-1].kernel.numpy()


def fit_arguments(lasso, steps=1):
    """Full-batch training; an epoch takes `steps` steps."""
    x, y = (np.concatenate([part.astype("float32")] * steps) for part in lasso)
    return {"x": x, "y": y[:, None], "batch_size": 60, "shuffle": False, "verbose": 0}


def test_fit_ends_with_the_sparse_solution(lasso):
    model = linear_model(APGNAG(0.05, gamma=0.5))
    model.fit(**fit_arguments(lasso, steps=300))
    x, y = lasso
    # Keras' mse is twice scikit-learn's data term, so alpha = γ / 2.
    best = Lasso(alpha=0.25, fit_intercept=False, positive=True, tol=1e-12).fit(x, y).coef_
    np.testing.assert_allclose(kernel(model)[:, 0], best, atol=1e-4)
    assert np.array_equal(kernel(model)[:, 0] == 0, best == 0)


class KernelAtValidation(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen, self.after = [], []

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(kernel(self.model).copy())

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(kernel(self.model).copy())


def test_validation_in_fit_sees_the_sparse_solution(lasso):
    arguments = fit_arguments(lasso)
    model = linear_model(APGNAG(0.05, gamma=0.5, momentum=0.9))
    watch = KernelAtValidation()
    validation = (arguments["x"], arguments["y"])
    model.fit(**arguments, epochs=12, validation_data=validation, callbacks=[SparseValues(), watch])
    plain = linear_model(APGNAG(0.05, gamma=0.5, momentum=0.9))
    unswapped = KernelAtValidation()
    plain.fit(**arguments, epochs=12, callbacks=[unswapped])
    # Zeros while validating, the same path as without validation, zeros at the end.
    zeros_seen = np.sum(np.array(watch.seen) == 0, axis=(1, 2))
    zeros_trained_on = np.sum(np.array(watch.after) == 0, axis=(1, 2))
    assert np.any(zeros_seen > zeros_trained_on)
    np.testing.assert_array_equal(watch.after, unswapped.after)
    np.testing.assert_array_equal(kernel(model), watch.seen[-1])


def test_sparse_values_refuses_another_optimizer(lasso):
    model = linear_model(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="whose optimizer is an APGNAG"):
        model.fit(**fit_arguments(lasso), epochs=1, callbacks=[SparseValues()])


def test_saves_and_restores(lasso, tmp_path):
    arguments = fit_arguments(lasso)
    model = linear_model(APGNAG(0.05, gamma=0.5, momentum=0.9))

    def step(model):
        model.train_on_batch(arguments["x"], arguments["y"])

    for _ in range(4):
        step(model)
    model.optimizer.set_gamma(model.trainable_variables[0], 0.75)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    variable = restored.trainable_variables[0]
    np.testing.assert_array_equal(restored.optimizer.get_gamma(variable), np.full((12, 1), 0.75))
    for _ in range(3):
        step(model)
        step(restored)
    np.testing.assert_array_equal(kernel(restored), kernel(model))
    np.testing.assert_array_equal(
        restored.optimizer.sparse_value(variable),
        model.optimizer.sparse_value(model.trainable_variables[0]),
    )


def test_restores_from_a_tf_checkpoint(tmp_path):
    def fresh():
        variable = keras.Variable([1.0, 0.2])
        optimizer = APGNAG(0.5, gamma=0.2, momentum=0.9)
        optimizer.build([variable])
        return variable, optimizer, tf.train.Checkpoint(v=variable.value, optimizer=optimizer)

    variable, optimizer, checkpoint = fresh()
    optimizer.apply([ops.array([1.0, 0.5])], [variable])
    path = checkpoint.save(str(tmp_path / "checkpoint"))
    other, other_optimizer, other_checkpoint = fresh()
    other_checkpoint.restore(path).assert_consumed()
    for v, o in ((variable, optimizer), (other, other_optimizer)):
        o.apply([ops.array([0.1, -0.4])], [v])
    np.testing.assert_array_equal(other.numpy(), variable.numpy())
    np.testing.assert_array_equal(
        other_optimizer.sparse_value(other), optimizer.sparse_value(variable)
    )


def test_under_mirrored_strategy(lasso, mirrored):
    arguments = fit_arguments(lasso, steps=12)
    with mirrored.scope():
        model = linear_model(APGNAG(0.05, gamma=0.5))
    watch = KernelAtValidation()
    validation = (arguments["x"][:60], arguments["y"][:60])
    model.fit(**arguments, epochs=2, validation_data=validation, callbacks=[SparseValues(), watch])
    single = linear_model(APGNAG(0.05, gamma=0.5))
    single.fit(**arguments, epochs=2)
    np.testing.assert_allclose(kernel(model), kernel(single), atol=1e-5)
    assert np.array_equal(kernel(model) == 0, kernel(single) == 0)
    assert np.sum(watch.seen[-1] == 0) > 0


def test_mixed_precision_with_loss_scaling(lasso):
    keras.config.set_dtype_policy("mixed_float16")
    model = linear_model(APGNAG(0.05, gamma=0.5))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.fit(**fit_arguments(lasso, steps=100), callbacks=[SparseValues()])
    assert kernel(model).dtype == np.float32
    x, y = lasso
    best = Lasso(alpha=0.25, fit_intercept=False, positive=True, tol=1e-12).fit(x, y).coef_
    np.testing.assert_allclose(kernel(model)[:, 0], best, atol=2e-2)
    assert np.array_equal(kernel(model)[:, 0] == 0, best == 0)


def test_gradient_accumulation_takes_one_step_of_the_mean():
    variable, twin = keras.Variable([1.0]), keras.Variable([1.0])
    accumulating = APGNAG(0.5, gamma=0.2, momentum=0.9, gradient_accumulation_steps=2)
    plain = APGNAG(0.5, gamma=0.2, momentum=0.9)
    for pair in ((0.2, 0.4), (-0.1, 0.3)):
        for gradient in pair:
            accumulating.apply([ops.array([gradient])], [variable])
        plain.apply([ops.array([np.mean(pair)])], [twin])
    np.testing.assert_allclose(variable.numpy(), twin.numpy(), atol=1e-6)
