"""Remote environments, in worker processes or behind HTTP, with the interface of any other `TextEnv`."""
