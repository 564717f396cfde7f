"""The tokens that stand for no code: [PAD], [CLS], [MASK] and the sexes. They come first in the
vocabulary."""

from claimscale.codes.systems import SEX_PREFIX
from claimscale.constants import SEXES

PAD, CLS, MASK = 0, 1, 2
FIRST_SEX = 3
FIRST_CODE = FIRST_SEX + len(SEXES)
"""Token of the most common code."""
SPECIAL_CODES = ("[PAD]", "[CLS]", "[MASK]", *(f"{SEX_PREFIX}{sex}" for sex in SEXES))
"""Names of the special tokens, in order."""
LEADING = 2
"""Every sequence starts with [CLS] and sex."""
