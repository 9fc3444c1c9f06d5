"""The HTTP interface described by OpenAPI 3.1, made from the types that validate what comes and shape what goes."""
