"""What a pruned model is worth where it runs.

| module | what |
|---|---|
| `speed` | how fast models run beside each other, how much memory they take: `calprune speed` |
| `worker` | one of those models, in a process of its own |
| `machine` | what the times were taken on, and what else ran there |
| `archive` | a checkpoint in few bytes and back: `calprune pack`, `unpack` |
| `bitmask` | numbers with many zeros in few bytes |
| `semi_structured` | 2:4 linears in the form that GPUs are faster with: `calprune.accelerate` |
"""
