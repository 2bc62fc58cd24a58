"""One file per operator: formula, shape rule, integer form, exact form, width rule, work count."""

from hqsim.ops.add import Add
from hqsim.ops.base import Operator, Preparation, WeightCodes, WorkContext
from hqsim.ops.concat import Concat
from hqsim.ops.conv2d import Conv2d
from hqsim.ops.embedding import Embedding, TimestepEmbedding
from hqsim.ops.group_norm import GroupNorm
from hqsim.ops.linear import Linear
from hqsim.ops.matmul import Matmul
from hqsim.ops.multiply import Multiply
from hqsim.ops.quantize import Quantize
from hqsim.ops.rescale import Rescale
from hqsim.ops.silu import SiLU
from hqsim.ops.softmax import Softmax
from hqsim.ops.views import Input, Permute, Reshape, UpsampleNearest

_ALL: tuple[Operator, ...] = (
    Add(),
    Concat(),
    Conv2d(),
    Embedding(),
    GroupNorm(),
    Input(),
    Linear(),
    Matmul(),
    Permute(),
    Quantize(),
    Rescale(),
    Reshape(),
    SiLU(),
    Softmax(),
    TimestepEmbedding(),
    UpsampleNearest(),
)
OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _ALL}

__all__ = ["OPERATORS", "Multiply", "Operator", "Preparation", "WeightCodes", "WorkContext"]
