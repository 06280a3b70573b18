"""What every command line prints through: consoles, tables, error lines, and the streams below."""
