"""``vskd record``: raw payloads and when they came, of any source, into a file that ``vskd replay`` plays."""
