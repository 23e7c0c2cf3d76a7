"""What stands around the daemon: the commands of ``vskd``, none of which the daemon needs."""
