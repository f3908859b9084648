"""The commands of the command line, one module each: its `run(args)` reads the arguments after the command's name."""
