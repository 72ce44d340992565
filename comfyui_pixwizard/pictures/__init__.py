"""Pictures in and out: files and tensors, sizes, labels to look at, what is pasted back."""
