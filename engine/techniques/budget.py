"""How seconds of training become optimizer steps."""

from engine.backends.images import TRAINED_SHARE, images_at_once
from engine.backends.protocol import Facts

MAX_EPOCHS = 12
LOOP_STEP_S = 0.003  # what a step of the smallest network takes
SIMULATION_COST = 3  # simulated rounding goes over the weights, and back, once more each


def plan(
    facts: Facts,
    cost: tuple[int, int],
    shape: tuple[int, ...],
    seconds: float,
    unanswered: float = 0.0,
    simulated: bool = False,
) -> tuple[int, int]:
    """Returns optimizer steps and batch size for `seconds` of training.

    cost: MACs and parameters of the network that is trained; `facts` are the baseline's, whose speed was
        measured. shape: of the training images, [n, height, width, channels]. unanswered: the share of them
        that a teacher has yet to answer. simulated: whether rounding is simulated meanwhile.
    """
    macs, parameters = cost
    # the update of the weights costs by their number; narrow layers wait for memory, so that their passes
    # cost by the number of activations, which falls with the width where the MACs fall with its square
    weights_s = facts.step_s * parameters / max(1, facts.parameters)
    step_s = max(LOOP_STEP_S, weights_s * (SIMULATION_COST if simulated else 1))
    image_s = facts.image_s * (macs / max(1, facts.macs)) ** 0.5
    count, most = shape[0], images_at_once(shape[1], shape[2], TRAINED_SHARE)
    # the teacher answers each image once, when it first comes up: the larger plan is the one that allows for
    # it rightly
    teacher_s = unanswered / max(1.0, facts.evaluate_images_per_s)
    within_an_epoch = plan_steps(step_s, image_s + teacher_s, seconds, count, most)
    beyond = plan_steps(step_s, image_s, seconds - teacher_s * count, count, most)
    return max(within_an_epoch, beyond, key=lambda plan: plan[0] * plan[1])


def plan_steps(
    step_s: float, image_s: float, seconds: float, images: int, most: int = 128
) -> tuple[int, int]:
    """Returns optimizer steps and batch size for `seconds` of training on `images` images.

    step_s: what a step costs whatever its batch, image_s: what each image adds. The batch is the largest of
    32, 64 and 128 that leaves 150 steps, so that a cosine schedule can work; where none does, the smallest
    one whose images cost as much as the step itself, so that a large network's short budget is not spent on
    updates. `most` caps it.
    """

    def steps(batch: int) -> int:
        return int(seconds / max(step_s + image_s * batch, 1e-9))

    ample = [batch for batch in (128, 64, 32) if steps(batch) >= 150]
    worth = [batch for batch in (32, 64, 128) if image_s * batch >= step_s]
    batch = min((ample or worth or [128])[0], images, most)
    return max(10, min(steps(batch), MAX_EPOCHS * images // batch)), batch
