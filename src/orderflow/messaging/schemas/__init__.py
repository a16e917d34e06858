"""Avro schemas: the committed history, the registry, encoding and decoding, compatibility."""
