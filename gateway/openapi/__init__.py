"""The HTTP interface by OpenAPI 3.1: from the types that validate or stand beside what does, and shape what goes."""
