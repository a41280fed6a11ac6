"""What the teacher reads: contexts, and their token ids."""
