"""Whether 8-bit weights must keep to 7 bits: where kernels add 8-bit products in 16 bits."""

from engine import host


def range_of_weights(saturates: bool, dot_product: bool) -> tuple[bool, str]:
    """Returns whether 8-bit weights must keep to 7 bits, and the reason for either answer.

    saturates: whether the format's kernels add products in 16 bits where the processor has no dot-product
    instructions. dot_product: whether the device has them; then the full range is right for it, whatever this
    processor does.
    """
    if not saturates:
        return False, "full range: the runtime adds 8-bit products in 32 bits on every processor"
    if dot_product:
        return False, "full range: the device has dot-product instructions"
    if host.has_dot_product():
        return (
            False,
            "full range: this processor adds 8-bit products without saturation (VNNI or dot product)",
        )
    return True, "reduced range: this processor's 8-bit multiply-add saturates at 16 bits (AVX2 without VNNI)"
