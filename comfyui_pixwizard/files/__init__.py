"""Weight files and model folders: read without executing anything, converted, written whole."""
