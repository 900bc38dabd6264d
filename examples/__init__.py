"""Five scenes, one for each shipped economy: short programs to read, run and copy from."""
