"""Fine-tuning of Keras networks: one traced step, in float or with simulated quantization."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from engine.backends.keras.graph import Network, to_common, to_keras
from engine.backends.keras.live import Live
from engine.backends.keras.simulate import Simulation
from engine.backends.protocol import Trained, Training
from engine.backends.training import GRIDS_SHARE, LARGEST_GRADIENT, WEIGHT_DECAY, Masks, fit
from engine.datasets import Part
from engine.vocabulary import Preprocessing

NOTHING = np.zeros((1, 1), np.float32)  # stands for the answers of a teacher that is not there
BETAS = (0.9, 0.999)


class KerasLearner:
    """See `Learner`: the variables, the optimizer's state and the traced step of one fine-tuning."""

    def __init__(self, live: Live, training: Training):
        self.live, self.training = live, training
        live.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.simulation = (
            Simulation(live, training.fake_bits, training.fake_activations, training.reduced_range)
            if training.fake_bits
            else None
        )
        self.trained = [
            w.value for layer in live.layers.values() for w in getattr(layer, "trainable_weights", ())
        ]
        scales = list(self.simulation.scales.values()) if self.simulation else []
        self.variables = self.trained + scales
        self.moments = [
            (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in self.variables
        ]
        self.kinds = {node.layer: node.kind for node in live.graph.weighted()}
        self.kernels = {name: live.layers[name].weights[0].value for name in self.kinds}
        masked = training.masks is not None or training.on_step is not None
        self.masks = (
            {
                name: tf.Variable(tf.ones(k.shape, tf.bool), trainable=False)
                for name, k in self.kernels.items()
            }
            if masked
            else {}
        )
        self.traced = tf.function(self._step, autograph=False, reduce_retracing=True)
        self.forward = tf.function(
            lambda x: self._scores(x, training=False),
            autograph=False,
            input_signature=[tf.TensorSpec((None, *live.graph.input_shape), tf.float32)],
        )

    def _scores(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        scores = self.live.run(x, training=training, call=self.simulation, until=self.live.graph.logits)
        return tf.reshape(scores, (tf.shape(x)[0], -1))

    def _loss(self, scores: tf.Tensor, labels: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        hard = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))
        if self.training.teacher is None or self.training.mix == 0:
            return hard
        t = self.training.temperature
        target = tf.nn.log_softmax(wanted / t)
        soft = tf.reduce_mean(
            tf.reduce_sum(tf.exp(target) * (target - tf.nn.log_softmax(scores / t)), axis=1)
        )
        return self.training.mix * t * t * soft + (1 - self.training.mix) * hard

    def _step(self, x: tf.Tensor, labels: tf.Tensor, wanted: tf.Tensor, rate: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = self._loss(self._scores(x, training=True), labels, wanted)
        gradients = tape.gradient(loss, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients, _ = tf.clip_by_global_norm(gradients, LARGEST_GRADIENT)
        self.live.step.assign_add(1)
        done = tf.cast(self.live.step, tf.float32)
        powers = tf.pow(BETAS[0], done), tf.pow(BETAS[1], done)
        for number, (variable, gradient, (m, v)) in enumerate(
            zip(self.variables, gradients, self.moments, strict=True)
        ):
            learned_scale = number >= len(self.trained)
            own_rate = rate * GRIDS_SHARE if learned_scale else rate
            if not learned_scale:
                variable.assign_sub(own_rate * WEIGHT_DECAY * variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=own_rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                epsilon=1e-8,
                grad=gradient,
            )
        self._apply_masks()

    def _apply_masks(self) -> None:
        for name, mask in self.masks.items():
            self.kernels[name].assign(self.kernels[name] * tf.cast(mask, tf.float32))

    def step(self, inputs: np.ndarray, labels: np.ndarray, wanted: np.ndarray | None, rate: float) -> None:
        target = NOTHING if wanted is None else wanted
        self.traced(
            tf.constant(inputs), tf.constant(labels), tf.constant(target), tf.constant(rate, tf.float32)
        )

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        if self.simulation is None:
            return self.forward(tf.constant(inputs)).numpy()
        self.simulation.moving.assign(False)
        scores = self.forward(tf.constant(inputs)).numpy()
        self.simulation.moving.assign(True)
        return scores

    def weights(self) -> dict[str, np.ndarray]:
        return {name: to_common(self.kinds[name], kernel.numpy()) for name, kernel in self.kernels.items()}

    def hold(self, masks: Masks) -> None:
        for name, mask in masks.items():
            self.masks[name].assign(to_keras(self.kinds[name], mask, self.kernels[name]) != 0)
        self._apply_masks()

    def checkpoint(self) -> tuple[dict[str, list[np.ndarray]], list[np.ndarray]]:
        return self.live.taken(), self.simulation.kept() if self.simulation else []

    def put_back(self, checkpoint: tuple[dict[str, list[np.ndarray]], list[np.ndarray]]) -> None:
        weights, learned = checkpoint
        self.live.put(weights)
        if self.simulation:
            self.simulation.put_back(learned)


def train(
    live: Live,
    network: Network,
    train_part: Part,
    validation: Part,
    training: Training,
    preprocessing: Preprocessing,
    progress: Callable[[float], None],
) -> Trained:
    """Fine-tunes what is in `live` and returns the best checkpoint with what was learned."""
    learner = KerasLearner(live, training)
    before, after = fit(learner, train_part, validation, training, preprocessing, progress)
    weights = live.taken()
    grids, activations = learner.simulation.harvest(weights) if learner.simulation else ({}, {})
    return Trained(Network(network.graph, weights), before, after, training.steps, grids, activations)


def gradients(live: Live, batches: list[tuple[tf.Tensor, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Returns, by layer, the summed gradient of the cross-entropy by its weights, over (inputs, labels)
    pairs.
    """
    names = [name for name, layer in live.layers.items() if getattr(layer, "trainable_weights", None)]
    variables = [[w.value for w in live.layers[name].trainable_weights] for name in names]
    sums = None
    for x, labels in batches:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, live.logits(x)))
        found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        arrays = [[g.numpy() for g in layer] for layer in found]
        sums = (
            arrays
            if sums is None
            else [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(sums, arrays, strict=True)]
        )
    return dict(zip(names, sums or [], strict=True))
