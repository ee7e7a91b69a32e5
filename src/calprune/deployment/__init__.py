"""What a pruned model is worth where it runs.

| module | what |
|---|---|
| `speed` | how fast models run beside each other, how much memory they take: `calprune speed` |
| `worker` | one of those models, in a process of its own |
| `machine` | what the times were taken on, and what else ran there |
"""
