"""rlsd.harness"""
