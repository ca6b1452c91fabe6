"""Words in, words out: the command line. No library and no plugin imports it."""
