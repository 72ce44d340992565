"""Labels as pictures and back."""
