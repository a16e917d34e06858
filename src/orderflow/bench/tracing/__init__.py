"""What traces and metrics cost: the payment listener with them and without."""
