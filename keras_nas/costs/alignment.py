"""What surgery will write where tensors meet, in the graph of a network that is planned."""


class Alignment:
    """Zeros put in, and channels put in order; no layer, and nothing that a cost is known of."""

    name = "alignment"
