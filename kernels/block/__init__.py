"""What surrounds the convolution in a block of the model, fused: float16 on a GPU, for inference.

Positions of all rows of a batch lie one behind the other: P = B * L of them, L even. Streams are (P, d), signals are
(d, P).
"""
