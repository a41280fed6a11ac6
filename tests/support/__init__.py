"""Helpers of the tests: small worlds, small runs, servers, processes."""
