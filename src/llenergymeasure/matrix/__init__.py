"""Running the pinned cells and merging what they report into one page.

A cell is started as a program of its own; merging and comparing only read records.
"""
