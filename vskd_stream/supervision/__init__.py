"""Whether the gateway does well, and who is told so: systemd, a scraper, whoever asks over HTTP."""
