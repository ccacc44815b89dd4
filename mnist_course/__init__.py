__version__ = "0.1.0"

import importlib

_homes = {  # the fixed names, imported when first asked for: `import mnist_course` alone loads no torch
    'load_mnist': 'data', 'MnistCNN': 'model', 'fit': 'training', 'save_model': 'training', 'load_model': 'training',
    'evaluate': 'evaluation', 'preprocess': 'inference', 'predict': 'inference', 'read_number': 'inference', 'Prediction': 'inference',
    'upload_widget': 'widgets', 'draw_widget': 'widgets', 'create_app': 'serve',
}
__all__ = list(_homes)


def __getattr__(name: str):
    if name in _homes: return getattr(importlib.import_module(f'{__name__}.{_homes[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__(): return sorted([*globals(), *_homes])
