"""Makes `tiny` importable for the tests here, which run it by path in other processes too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
