"""The rules, without I/O and without a clock."""
