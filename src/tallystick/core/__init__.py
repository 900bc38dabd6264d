"""Pure decisions: no input or output, no clock, no randomness, no float; standard library only."""
