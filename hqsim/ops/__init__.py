"""One file per operator: formula, shape rule, integer form, exact form, width rule, work count."""

from hqsim.ops.add import Add
from hqsim.ops.average_pool import AveragePool
from hqsim.ops.base import Operator, Preparation, WeightCodes, WorkContext
from hqsim.ops.concat import Concat
from hqsim.ops.conv2d import Conv2d
from hqsim.ops.embedding import Embedding, TimestepEmbedding
from hqsim.ops.gelu import Gelu
from hqsim.ops.gelu_tanh import GeluTanh
from hqsim.ops.group_norm import GroupNorm
from hqsim.ops.layer_norm import LayerNorm
from hqsim.ops.linear import Linear
from hqsim.ops.matmul import Matmul
from hqsim.ops.multiply import Multiply
from hqsim.ops.offset import Offset
from hqsim.ops.product import Product
from hqsim.ops.quantize import Quantize
from hqsim.ops.rescale import Rescale
from hqsim.ops.scale import Scale
from hqsim.ops.silu import SiLU
from hqsim.ops.softmax import Softmax
from hqsim.ops.temporal_table import TemporalTable
from hqsim.ops.views import Input, Permute, Reshape, Slice, UpsampleNearest

_ALL: tuple[Operator, ...] = (
    Add(),
    AveragePool(),
    Concat(),
    Conv2d(),
    Embedding(),
    Gelu(),
    GeluTanh(),
    GroupNorm(),
    Input(),
    LayerNorm(),
    Linear(),
    Matmul(),
    Offset(),
    Permute(),
    Product(),
    Quantize(),
    Rescale(),
    Reshape(),
    Scale(),
    SiLU(),
    Slice(),
    Softmax(),
    TemporalTable(),
    TimestepEmbedding(),
    UpsampleNearest(),
)
OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _ALL}

__all__ = ["OPERATORS", "Multiply", "Operator", "Preparation", "WeightCodes", "WorkContext"]
