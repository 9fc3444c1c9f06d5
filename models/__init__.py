"""The state: what is true is what is committed here."""
