"""Policies on vLLM servers: requests, weight transfer, checks, and a stand-in for tests."""
