"""A home, sped up: twenty devices and a broker that come and go, and books that have to balance."""
