"""Published configurations, embedded checkpoints, loaders."""

from hqsim.models.load import ModelInfo, list_models, load_model
from hqsim.models.model import Model
from hqsim.models.schedule import Schedule

__all__ = ["Model", "ModelInfo", "Schedule", "list_models", "load_model"]
