"""Pictures in and out: files and tensors, sizes, labels to look at, unchanged parts pasted back."""
