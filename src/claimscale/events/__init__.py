"""Events: schema, validation, and the stage that builds them."""
