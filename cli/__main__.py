"""`python -m pixwizard.cli`, for launchers such as torchrun that start a module."""

import sys

from .main import main

sys.exit(main())
