"""Training: it may import ``vskd_stream``; the other way is forbidden."""
