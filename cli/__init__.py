"""The command line: parse, build a config, call the engine, print a path. No logic of its own."""
