"""How large a model may be, whatever its format."""

MAX_VALUES = 150_000_000  # numbers in all weights: 600 MB in float32, four times what edge devices hold
MAX_OUTPUT = 60_000_000  # numbers that a layer may give for one image
