"""What can be said and done: names of things, what an input means, each action, the list of those that make sense."""
