"""Digits as strokes, to draw on a pad: ten shapes, each turned, stretched, shaken and moved at
random."""

import numpy as np

SHAPES = {  # in a square of 100 by 100, as a hand goes
    0: [[(50, 5), (25, 20), (18, 50), (25, 80), (50, 95), (75, 80), (82, 50), (75, 20), (52, 6)]],
    1: [[(38, 22), (54, 5), (54, 95)]],
    2: [[(22, 28), (32, 9), (55, 5), (75, 17), (75, 36), (58, 58), (36, 77), (20, 94), (80, 93)]],
    3: [
        [
            (24, 14),
            (48, 4),
            (71, 14),
            (72, 34),
            (44, 47),
            (70, 56),
            (78, 75),
            (62, 93),
            (38, 95),
            (20, 82),
        ]
    ],
    4: [[(58, 5), (36, 35), (18, 62), (82, 62)], [(62, 34), (60, 95)]],
    5: [[(76, 6), (34, 6), (28, 44), (52, 38), (73, 50), (77, 72), (60, 92), (34, 94), (20, 84)]],
    6: [
        [
            (64, 5),
            (40, 25),
            (25, 52),
            (24, 77),
            (40, 95),
            (64, 92),
            (76, 72),
            (64, 54),
            (42, 56),
            (27, 70),
        ]
    ],
    7: [[(20, 8), (80, 7), (62, 45), (44, 94)]],
    8: [
        [
            (70, 18),
            (50, 5),
            (30, 15),
            (34, 36),
            (64, 56),
            (75, 76),
            (56, 95),
            (32, 86),
            (30, 66),
            (62, 40),
            (72, 20),
        ]
    ],
    9: [[(72, 24), (52, 6), (30, 16), (26, 38), (46, 50), (68, 38), (73, 22), (71, 58), (64, 95)]],
}


def strokes(digit: int, rng: np.random.Generator, side: int = 280) -> list[list[list[float]]]:
    """One digit as a hand might draw it on a pad of `side` pixels: strokes of [x, y], many
    points each."""
    angle, size = rng.uniform(-0.15, 0.15), rng.uniform(0.5, 0.85) * side / 100
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.array(
        [[rng.uniform(0.8, 1), rng.uniform(-0.15, 0.15)], [0, 1]]
    )
    middle = side / 2 + rng.uniform(-0.07, 0.07, 2) * side
    drawn = []
    for shape in SHAPES[digit]:
        corners = (
            np.array(shape, float) - 50 + rng.normal(0, 1.5, (len(shape), 2))
        ) @ turn.T * size + middle
        at = np.linspace(0, len(corners) - 1, 12 * len(corners))
        points = np.stack([np.interp(at, range(len(corners)), corners[:, k]) for k in (0, 1)], 1)
        drawn.append(points.clip(12, side - 12).round(1).tolist())
    return drawn
