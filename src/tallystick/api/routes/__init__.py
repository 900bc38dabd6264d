"""The routes, one file per noun. A route parses, calls one service and renders."""
