"""What is asked: subgoals and the score, what each task type adds to the house."""
