"""Corrected, tested model code behind the notebooks in ``chapters/``.

Importing the package loads nothing heavy: take what you need, ``from aigc_course import gan``. The only side effect is
to ask TensorFlow to keep quiet; a variable that you have set yourself is left as it is.
"""

import os

__version__ = "0.1.0"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
