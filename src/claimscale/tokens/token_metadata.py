"""What an encoder knows of each token before training: its type and its groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.vocabulary import Vocabulary

NO_GROUP = -1


@dataclass(frozen=True)
class TokenMetadata:
    """Types, int8 [V], and groups, int32 [V, levels], of V tokens; NO_GROUP where there is none.

    Groups are numbered from 0: the chapter and category of a diagnosis, the levels of a drug's class. A rare
    code shares them with common ones.
    """

    types: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> TokenMetadata:
        columns = CodeGroups.of(vocabulary).columns[:, 1:]
        return cls(vocabulary.types, np.where(columns < 0, NO_GROUP, columns - vocabulary.size))

    @classmethod
    def plain(cls, types: np.ndarray) -> TokenMetadata:
        """Tokens with types and no groups."""
        return cls(types, np.empty((len(types), 0), np.int32))

    @property
    def group_count(self) -> int:
        return int(self.groups.max(initial=NO_GROUP)) + 1
