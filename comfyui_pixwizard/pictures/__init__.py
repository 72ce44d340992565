"""Pictures in and out: files and tensors, sizes, labels to look at, changes carried to their source."""
