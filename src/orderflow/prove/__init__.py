"""`orderflow prove …`: a promise put to the test on a stack of its own, under load, while processes are killed."""
