"""Facts about a machine, a broker and its Bluetooth → findings with a remedy each; pure.

``doctor`` collects the facts. No finding repeats a password, a key, or what stands in such a file.
"""
