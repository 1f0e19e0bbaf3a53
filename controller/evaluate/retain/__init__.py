"""Retained ability: prompts that measure what tuning must not break.

- `suites`: the built-in suites, by name; `items` reads their prompts from the `.jsonl` files here
- `rules`: what a right answer is, without a judge
- `measure`: asks the candidate and its base model, and scores the answers
"""
