"""Make the training runs that `forecast` learns from."""
