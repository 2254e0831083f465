"""The real parts that tests run against, each a child process: stopped, killed and restarted at will."""
