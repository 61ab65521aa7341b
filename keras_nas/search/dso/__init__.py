"""DSO-NAS: edges of fully connected blocks under sparsity."""
