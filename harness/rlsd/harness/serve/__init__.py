"""The worlds over HTTP: one guard for all servers, and the servers themselves."""
