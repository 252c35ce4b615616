"""The command line: a module a group of verbs. Here, and nowhere else, is printed and are exit codes chosen."""
