"""The incidents, each with its drill: what is broken, what should happen, how it is mended."""
