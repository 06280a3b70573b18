"""Output of the command lines: consoles, tables, error lines, and the streams below."""
