"""Results: draws and what they were made from in one labelled tree, and files that appear whole or
not at all.
"""
