"""Text, image and latent encoders: the released kinds and the bundled small ones."""
