"""Search QA: a question, a retriever, an answer that counts."""
