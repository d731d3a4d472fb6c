"""The HTTP API: one file a resource. It asks the same questions as the pages and the command line."""
