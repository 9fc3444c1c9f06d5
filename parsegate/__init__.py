"""The roof: command line, wiring, demo."""
