"""rlsd.agents"""
