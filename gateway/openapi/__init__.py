"""The HTTP interface described by OpenAPI 3.1, from the types that validate what comes, or stand beside it, and shape what goes."""
