"""What answers look like, one file per noun: the shapes of the OpenAPI document, and how results become them."""
