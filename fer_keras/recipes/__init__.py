"""Recipes: every training as plain data, and the grids around them. No other place holds a hyper-parameter."""

from fer_keras.names import check_name
from fer_keras.recipes import fer_small, published
from fer_keras.recipes.recipe import (
    Recipe,
    Space,
    describe,
    for_split,
    make_targets,
    own_recipe,
    select_classes,
    to_recipe_classes,
    variant_for,
)

__all__ = ["RECIPES", "SPACES", "Recipe", "Space", "describe", "find_recipe", "find_space", "for_split", "make_targets"]
__all__ += ["own_recipe", "select_classes", "to_recipe_classes", "variant_for"]

RECIPES = {recipe.name: recipe for recipe in (*published.RECIPES, *fer_small.RECIPES)}
SPACES = {space.name: space for space in (*published.SPACES, *fer_small.SPACES)}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; the ValueError where there is none names the closest, or all."""
    check_name("recipe", name, RECIPES)
    return RECIPES[name]


def find_space(name: str) -> Space:
    """The search space of that name; the ValueError where there is none names the closest, or all."""
    check_name("search space", name, SPACES)
    return SPACES[name]
