"""The operations, one file for each noun: models of its answers, then what each call is."""
