"""The only SQL: schema, engine, ledger, and one module per noun."""
