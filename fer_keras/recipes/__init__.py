"""Recipes: every published run as plain data, a module a project. No other place holds a hyper-parameter."""

from fer_keras.recipes import capstone, cs337, emovision, expression_study, ours, sep_cvdl
from fer_keras.recipes.recipe import Recipe, for_split

__all__ = ["RECIPES", "Recipe", "find_recipe", "for_split"]

PROJECTS = (emovision, expression_study, capstone, cs337, sep_cvdl, ours)
RECIPES = {recipe.name: recipe for project in PROJECTS for recipe in project.RECIPES}


def find_recipe(name):
    """Return the recipe of that name.

    Raises:
        ValueError: if there is none; the message lists those that there are.
    """
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}. Expected one of: {', '.join(RECIPES)}.")
    return RECIPES[name]
