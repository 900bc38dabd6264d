"""The door for people at a terminal: parse, ask the server or a service, show."""
