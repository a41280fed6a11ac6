"""Policies on vLLM servers: requests, weight transfer, checks, and a fake server for tests."""
