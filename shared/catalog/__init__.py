"""The model catalog: which GGUF files this machine has, what they are, and what a model's name means.

>>> catalog = Catalog(settings.models_dir)
>>> catalog.find("llamarelay/spark").path
"""

from shared.catalog.catalog import Catalog
from shared.catalog.header import Header, HeaderError, read_header
from shared.catalog.models import Model, ModelNotFoundError, Variant
from shared.catalog.naming import parameters_label, printable

__all__ = [
    "Catalog",
    "Header",
    "HeaderError",
    "Model",
    "ModelNotFoundError",
    "Variant",
    "parameters_label",
    "printable",
    "read_header",
]
