"""The model code: tensors and files in, tensors and files out. Importing this package loads nothing."""
