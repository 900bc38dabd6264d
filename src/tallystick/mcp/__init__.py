"""The MCP door: the tools of a credit economy for agents, over stdio and streamable HTTP."""
