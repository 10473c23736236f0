"""The same predictions in less time: fewer operations, no margins, bfloat16."""
