"""The command line: thin, as `nodes` is for ComfyUI; nothing imports it."""
