"""The HTTP entrance: documents and events in, results out."""
