"""What may stand in the configuration of a Keras model for images, by name; everything else is refused."""

LAYERS = set(
    """
Sequential Functional Model InputLayer Input Dense Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose
Flatten Reshape Permute Dropout SpatialDropout2D GaussianNoise GaussianDropout AlphaDropout
BatchNormalization BatchNormalizationV1 SyncBatchNormalization LayerNormalization GroupNormalization
UnitNormalization Activation ReLU LeakyReLU PReLU ELU ThresholdedReLU Softmax MaxPooling2D AveragePooling2D
GlobalAveragePooling2D GlobalMaxPooling2D Add Subtract Multiply Average Maximum Minimum Concatenate
ZeroPadding2D Cropping2D UpSampling2D Rescaling Normalization Resizing CenterCrop RandomFlip
MultiHeadAttention GlobalAveragePooling1D GlobalMaxPooling1D RandomRotation RandomZoom RandomContrast
RandomTranslation RandomCrop RandomBrightness ActivityRegularization Identity
""".split()
)
HELPERS = set(
    """
Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal Identity
GlorotUniform GlorotNormal HeNormal HeUniform LecunNormal LecunUniform L1 L2 L1L2 MaxNorm NonNeg UnitNorm
MinMaxNorm DTypePolicy Policy __tuple__ __keras_tensor__ __slice__ __ellipsis__ SeedGenerator
""".split()
)
ACTIVATIONS = set(
    """
linear relu relu6 elu selu softplus softsign softmax log_softmax tanh sigmoid hard_sigmoid exponential gelu
swish silu hard_swish hard_silu mish leaky_relu celu
""".split()
)
SERIES = {
    "LSTM",
    "GRU",
    "SimpleRNN",
    "Bidirectional",
    "TimeDistributed",
    "Embedding",
    "TextVectorization",
    "Conv1D",
    "ConvLSTM2D",
    "MaxPooling1D",
    "StringLookup",
}
CODE = {
    "Lambda",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "__lambda__",
    "TensorFlowOpLayer",
    "Custom",
    "function",
    "__typespec__",
}
OPERATIONS = set(  # of keras.ops, between a Functional model's layers
    """
Add Subtract Multiply Divide TrueDivide Negative Maximum Minimum Power Square Sqrt Rsqrt Exp Log Absolute
Mean Sum Max Min Var Std Prod Reshape Transpose Squeeze ExpandDims Concatenate Stack Split Clip Relu Relu6
Sigmoid Tanh Silu Gelu Elu Selu Celu Softmax LogSoftmax LeakyRelu HardSigmoid HardSilu Softplus Softsign
Cast GetItem Matmul Einsum Flip Pad Normalize Erf Swapaxes Moveaxis Ravel MaxPool AveragePool Resize
StopGradient Reciprocal Average
""".split()
)
OF_OPERATIONS = ("keras.ops", "keras.src.ops.")
TENSORFLOW = set(  # operators of TensorFlow between Keras 2's layers; operators.py has one function for each
    """
__operators__.add math.add add math.subtract subtract math.multiply multiply math.truediv math.divide
realdiv divide math.negative math.maximum math.minimum math.abs math.square math.sqrt math.pow math.exp
nn.bias_add nn.relu nn.relu6 nn.elu nn.selu nn.silu nn.swish nn.sigmoid math.sigmoid sigmoid nn.tanh
math.tanh tanh nn.softplus math.softplus nn.softmax nn.gelu nn.leaky_relu math.reduce_mean reduce_mean
math.reduce_max reduce_max math.reduce_sum reduce_sum __operators__.getitem clip_by_value concat reshape
transpose squeeze expand_dims image.resize cast identity stop_gradient convert_to_tensor nn.dropout
""".split()
)
NUMBERS = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")
OF_FUNCTIONS = (
    None,
    "builtins",
    "keras.activations",
    "keras.src.activations.activations",
    "keras.ops",
    "keras.src.activations",
)
MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
MAX_SIDE, SIDES = (
    4_096,
    (
        "height",
        "width",
        "size",
        "padding",
        "cropping",
        "kernel_size",
        "pool_size",
        "strides",
        "dilation_rate",
    ),
)
COUNTED = {
    "units",
    "filters",
    "kernel_size",
    "pool_size",
    "strides",
    "padding",
    "size",
    "target_shape",
    "dilation_rate",
    "depth_multiplier",
    "cropping",
    "height",
    "width",
    "batch_shape",
    "batch_input_shape",
    "input_shape",
    "shape",
    "n",
    "input_dim",
    "groups",
}
