__version__ = "0.2.0"

import importlib

TYPE_CHECKING = False  # of typing, without importing it
if TYPE_CHECKING:
    from .data import load_mnist
    from .evaluation import evaluate
    from .inference import Prediction, predict, preprocess, read_number
    from .model import MnistCNN
    from .serve import create_app
    from .training import fit, load_model, save_model
    from .widgets import draw_widget, upload_widget

# the fixed names, imported when first asked for: `import mnist_course` alone loads no torch
_homes = {
    'load_mnist': 'data',
    'MnistCNN': 'model',
    'fit': 'training',
    'save_model': 'training',
    'load_model': 'training',
    'evaluate': 'evaluation',
    'preprocess': 'inference',
    'predict': 'inference',
    'read_number': 'inference',
    'Prediction': 'inference',
    'upload_widget': 'widgets',
    'draw_widget': 'widgets',
    'create_app': 'serve',
}
__all__ = list(_homes)


def __getattr__(name: str) -> object:
    if name in _homes:
        return getattr(importlib.import_module(f'{__name__}.{_homes[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted([*globals(), *_homes])
