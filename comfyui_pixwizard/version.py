"""The version, readable also where the package is not installed (ComfyUI loads the tree as it is)."""

VERSION = "0.1.0"
