"""Read a pickle without executing it: what it is, which Python made it, what it imports, captures and does."""
