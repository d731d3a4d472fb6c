"""What a model costs on an edge device: a profile read from its file, and predictions with honest
intervals.
"""
