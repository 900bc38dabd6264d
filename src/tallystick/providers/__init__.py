"""Payment providers behind the port of ``ports``: one module or a few for each, which know nothing of one another."""
