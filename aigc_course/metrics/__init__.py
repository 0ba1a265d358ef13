"""Scores for generative models: distances between sets of pictures, coverage, memorisation, likelihoods, translations.

Every function on features is plain NumPy. ``Scorer`` turns pictures into features with the course's own digit
classifier, so its Fréchet distance is called *course-FID*: it can be compared with other course-FIDs at the same number
of pictures, and with no FID from a paper (those use Inception features and 50,000 pictures).

Shapes: N, M number of pictures; D width of a vector; F width of the features; K classes; B batch; T tokens; 28 x 28
grey pictures are [N, 28, 28, 1] in [0, 1].   Taught in chapters/03_gan_images, 06_seq2seq.   Corrects B19, C5.
"""

from aigc_course.metrics.distances import frechet_distance, kernel_distance
from aigc_course.metrics.likelihoods import bits_per_dimension, perplexity
from aigc_course.metrics.modes import effective_modes, mode_histogram
from aigc_course.metrics.neighbours import NeighbourReport, nearest, nearest_neighbour_report, precision_recall
from aigc_course.metrics.scorer import Score, Scorer, SetScore, check_images, independent_pixels, score_images, scorer
from aigc_course.metrics.translation import Bleu, Quotients, chrf, corpus_bleu, quotient_test, tokens

__all__ = [
    "Bleu",
    "NeighbourReport",
    "Quotients",
    "Score",
    "Scorer",
    "SetScore",
    "bits_per_dimension",
    "check_images",
    "chrf",
    "corpus_bleu",
    "effective_modes",
    "frechet_distance",
    "independent_pixels",
    "kernel_distance",
    "mode_histogram",
    "nearest",
    "nearest_neighbour_report",
    "perplexity",
    "precision_recall",
    "quotient_test",
    "score_images",
    "scorer",
    "tokens",
]
