"""Makes the modules beside the tests importable: with importlib's mode of importing pytest does not."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
