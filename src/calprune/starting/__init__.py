"""calprune start: from a model, and texts of one's own, to a pruned model and a first table.

look       the model, without its weights: its family, size, and the memory that pruning will take
own_data   a file of the user in two parts: what is calibrated on, and what is judged on
proposal   what will be done, in what time and memory
run        the study of it, and the pruned model, with one bar for all
answer     the table, the sentence and what to do next
demo       the same of the demo model, with what the package brings
"""
