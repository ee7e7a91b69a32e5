"""Which units go, by a method and what it reads of the data: blocks, experts, or neurons and heads.

choice      what was chosen at one place, and what is looked at to choose
blocks      of the whole model
experts     of each bank
channels    neurons and heads: of each linear that reads them
"""
