"""How near clips come to a real one: Frechet distances of image features, motion, memorisation, colours, diversity."""
