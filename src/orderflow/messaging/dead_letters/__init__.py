"""Dead letters: the record a group could not handle, with the evidence."""
