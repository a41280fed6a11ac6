"""Methods × seeds by a frozen plan: the plan, its runs, its tables and verdicts."""
