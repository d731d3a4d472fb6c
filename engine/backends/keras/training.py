"""Fine-tuning of Keras networks: a loop of our own, one traced step, in float or with simulated
quantization.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from engine.backends.images import images_at_once
from engine.backends.keras.graph import Network
from engine.backends.keras.live import Live
from engine.backends.keras.simulate import Simulation
from engine.backends.protocol import Trained, Training
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.vocabulary import Preprocessing
from models.augment import augment

EVALUATED_IMAGES = 1_000
DECAY = 1e-4
BETAS = (0.9, 0.999)


class Trainer:
    """The variables, the optimizer's state and the traced step of one fine-tuning."""

    def __init__(self, live: Live, training: Training):
        self.live, self.training = live, training
        live.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.simulation = (
            Simulation(live, training.fake_bits, training.fake_activations, training.reduced_range)
            if training.fake_bits
            else None
        )
        self.weights = [
            w.value for layer in live.layers.values() for w in getattr(layer, "trainable_weights", ())
        ]
        scales = list(self.simulation.scales.values()) if self.simulation else []
        self.variables = self.weights + scales
        self.moments = [
            (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in self.variables
        ]
        self.kernels = {
            node.layer: live.layers[node.layer].weights[0].value for node in live.graph.weighted()
        }
        masked = training.masks is not None or training.on_step is not None
        self.masks = (
            {
                name: tf.Variable(tf.ones(k.shape, tf.bool), trainable=False)
                for name, k in self.kernels.items()
            }
            if masked
            else {}
        )
        self.step = tf.function(self._step, autograph=False, reduce_retracing=True)
        self.score = tf.function(
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
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        self.live.step.assign_add(1)
        done = tf.cast(self.live.step, tf.float32)
        powers = tf.pow(BETAS[0], done), tf.pow(BETAS[1], done)
        for number, (variable, gradient, (m, v)) in enumerate(
            zip(self.variables, gradients, self.moments, strict=True)
        ):
            learned_scale = number >= len(self.weights)
            own_rate = rate * 0.1 if learned_scale else rate
            if not learned_scale:
                variable.assign_sub(own_rate * DECAY * variable)
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
        self._hold()

    def _hold(self) -> None:
        for name, mask in self.masks.items():
            self.kernels[name].assign(self.kernels[name] * tf.cast(mask, tf.float32))

    def take_masks(self, masks: dict[str, np.ndarray], to_keras: Callable) -> None:
        """Puts new masks in place and applies them at once."""
        for name, mask in masks.items():
            self.masks[name].assign(to_keras(name, mask) != 0)
        self._hold()

    def accuracy(self, part: Part, preprocessing: Preprocessing) -> float:
        """Returns the accuracy on (the first 1,000 images of) a part, as it is simulated."""
        images, labels = part.images[:EVALUATED_IMAGES], part.labels[:EVALUATED_IMAGES]
        spec, right = preprocessing.model_dump(), 0
        if self.simulation:
            self.simulation.moving.assign(False)
        size = images_at_once(preprocessing.height, preprocessing.width)
        for start in range(0, len(labels), size):
            scores = self.score(tf.constant(preprocess(images[start : start + size], spec))).numpy()
            right += int((scores.argmax(1) == labels[start : start + size]).sum())
        if self.simulation:
            self.simulation.moving.assign(True)
        return right / len(labels)

    def checkpoint(self) -> tuple:
        """Returns copies of all that a checkpoint holds."""
        return self.live.taken(), self.simulation.kept() if self.simulation else []


def train(
    live: Live,
    network: Network,
    train_part: Part,
    validation: Part,
    training: Training,
    preprocessing: Preprocessing,
    answers: Callable[[np.ndarray], np.ndarray],
    to_keras: Callable,
    to_common: Callable,
    progress: Callable[[float], None],
) -> Trained:
    """Fine-tunes what is in `live` and returns the best checkpoint with what was learned.

    answers(chosen): the teacher's logits for these training images. to_keras(layer, array), to_common():
    between the
    order of weights here and the one that techniques use.
    """
    trainer = Trainer(live, training)
    if training.masks is not None:
        trainer.take_masks(training.masks, to_keras)
    before = best = trainer.accuracy(validation, preprocessing) if training.evaluations else 0.0
    kept = trainer.checkpoint() if training.evaluations and not training.settle else None
    batches = _batches(train_part, training, preprocessing)
    check_at = {
        max(1, round(training.steps * (i + 1) / training.evaluations)) for i in range(training.evaluations)
    }
    for step in range(training.steps):
        if training.on_step and (masks := training.on_step(step, to_common(trainer.kernels))):
            trainer.take_masks(masks, to_keras)
        inputs, labels, chosen = next(batches)
        wanted = answers(chosen) if training.teacher is not None else np.zeros((1, 1), np.float32)
        trainer.step(
            tf.constant(inputs),
            tf.constant(labels),
            tf.constant(wanted),
            tf.constant(rate(step, training), tf.float32),
        )
        if step + 1 in check_at:
            progress((step + 1) / training.steps)
            now = trainer.accuracy(validation, preprocessing)
            if step + 1 >= training.settle and (kept is None or now >= best):
                best, kept = now, trainer.checkpoint()
    weights, learned = kept or trainer.checkpoint()
    grids, activations = {}, {}
    if trainer.simulation:
        trainer.simulation.put_back(learned)
        grids, activations = trainer.simulation.harvest(weights)
    return Trained(Network(network.graph, weights), before, best, training.steps, grids, activations)


def rate(step: int, training: Training) -> float:
    """Returns the learning rate of a step: a short warm-up, then a cosine to zero."""
    warm = max(1, training.steps // 20)
    if step < warm:
        return training.learning_rate * (step + 1) / warm
    return (
        training.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, training.steps - warm)))
    )


def _batches(part: Part, training: Training, preprocessing: Preprocessing) -> Iterator[tuple]:
    spec, count, order = preprocessing.model_dump(), len(part.labels), np.random.default_rng(training.seed)
    while True:
        shuffled = order.permutation(count)
        for start in range(0, count - training.batch + 1, training.batch):
            chosen = np.sort(shuffled[start : start + training.batch])
            images = augment(np.asarray(part.images[chosen]), order, preprocessing.color != "grey")
            yield preprocess(images, spec), part.labels[chosen].astype(np.int64), chosen


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
