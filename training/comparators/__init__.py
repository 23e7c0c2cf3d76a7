"""What others ask of a student: one family of losses a file, with the arguments of ``training.losses``."""
