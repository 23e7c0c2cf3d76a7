"""Real-time wearable activity recognition: a watch's acceleration in, activity events out.

The way of the data, and the files to read in that order:
``decode`` → ``reorder`` → ``clock`` → ``resample`` → ``window`` → ``image`` → ``classify``
→ ``events`` → ``topics``; ``pipeline`` joins them for one device, ``daemon`` for all of them.
"""

from importlib.metadata import version

__version__ = version("vskd-stream")
