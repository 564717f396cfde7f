"""Published recipes on the same patients, splits and labels. One file per recipe; `RECIPES` lists them."""

from claimscale.model.recipes import (
    behrt,
    causal,
    cehr_bert,
    everyquery,
    hi_behrt,
    med_bert,
    motor,
    paper,
    transformehr,
)
from claimscale.model.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE
    for module in (
        paper,
        behrt,
        med_bert,
        cehr_bert,
        hi_behrt,
        transformehr,
        motor,
        causal,
        everyquery,
    )
}
