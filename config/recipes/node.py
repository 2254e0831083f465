"""Node: npm, pnpm or Yarn; servers, and sites that are built once and served as files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from config.recipes.folder import Folder
from config.recipes.recipe import Recipe, Unsure, version, ways

# https://nodejs.org/en/about/previous-releases: those with long support
VERSIONS = ("24", "22", "20", "18")
_DEFAULT = "24"
_PORT = 3000
_FILES_PORT = 8080
_STATIC = {  # what builds a site, and the folder that it leaves it in
    "react-scripts": "build",
    "gatsby": "public",
    "@docusaurus/core": "build",
    "@11ty/eleventy": "_site",
    "vitepress": ".vitepress/dist",
    "astro": "dist",
    "@vue/cli-service": "dist",
    "parcel": "dist",
    "vite": "dist",
}
_ONE_PAGE = ("react-scripts", "@vue/cli-service", "vite", "parcel", "@angular/core")
_NEEDS = ("dependencies", "devDependencies", "optionalDependencies")
# What installing runs: it may want any file.
_HOOKS = {"preinstall", "install", "postinstall", "prepare"}
_IGNORED = (
    *("**/node_modules", ".next", ".nuxt", ".output", ".svelte-kit", "npm-debug.log*", ".turbo"),
    "!.env.production",  # Vite, Next and their like build with it; secrets are in .env.production.local
)
_SERVERS = (
    "express",
    "fastify",
    "koa",
    "@hapi/hapi",
    "@nestjs/core",
    "hono",
    "@hono/node-server",
    "h3",
    "polka",
)


def recipe(folder: Folder) -> Recipe | None:
    if "package.json" not in folder:
        return None
    package = folder.json("package.json")
    if not package:
        raise Unsure("package.json is no JSON: mend it")
    manager, lock = _manager(folder, package)
    engines = package.get("engines")
    wanted = folder.text(".nvmrc") or folder.text(".node-version")
    wanted = wanted or (str(engines.get("node", "")) if isinstance(engines, dict) else "")
    number = version(wanted, VERSIONS, _DEFAULT)
    needs, scripts = {**_mapping(package, "dependencies")}, _mapping(package, "scripts")
    every = {**needs, **_mapping(package, "devDependencies")}
    values: dict[str, Any] = {"version": number, "manager": manager, "lock": lock}
    values |= {"builds": "build" in scripts}
    berry = manager == "yarn" and ".yarnrc.yml" in folder
    values |= {
        "berry": berry,
        "prisma": "prisma" in every,
        "alone": not berry and _is_alone(folder, package, scripts),
    }
    values |= {"settings": [one for one in (".npmrc", ".yarnrc") if one in folder]}
    seen = tuple(filter(None, ("package.json", lock, folder.first("Procfile"))))
    title = f"Node {number} with {manager}"
    said = ways(folder)
    if not said.web and (site := _site(folder, needs, every, scripts)):
        values |= {"site": site, "spa": any(one in every for one in _ONE_PAGE)}
        return Recipe(
            "node-static", f"{title}, a site in {site}", seen, values, (), _FILES_PORT, ignored=_IGNORED
        )
    command = said.web or _command(folder, needs, scripts, manager, berry=berry)
    return Recipe("node", title, seen, values, command, _PORT, said.others, said.release, _IGNORED)


def _mapping(package: Mapping[str, Any], key: str) -> dict[str, str]:
    value = package.get(key)
    return {str(name): str(one) for name, one in value.items()} if isinstance(value, dict) else {}


def _manager(folder: Folder, package: Mapping[str, Any]) -> tuple[str, str | None]:
    for there, manager in (("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn")):
        if there in folder:
            return manager, there
    if lock := folder.first("package-lock.json", "npm-shrinkwrap.json"):
        return "npm", lock
    if folder.first("bun.lock", "bun.lockb"):
        raise Unsure("Bun is not known here: commit a package-lock.json too, or write a Dockerfile")
    named = str(package.get("packageManager") or "npm").partition("@")[0]
    if named not in ("npm", "pnpm", "yarn"):
        raise Unsure("package.json's `packageManager` is none of npm, pnpm and yarn: write a Dockerfile")
    if named != "npm":
        raise Unsure(f"{named}'s lock file is missing: run `{named} install`, and commit it")
    return "npm", None


def _is_alone(folder: Folder, package: Mapping[str, Any], scripts: Mapping[str, str]) -> bool:
    """Whether package.json and its lock are all that is needed to install."""
    more = folder.first("pnpm-workspace.yaml", "lerna.json", ".pnpmfile.cjs") or folder.named(
        r"(patches|prisma)/.*"
    )
    needs = [one for key in _NEEDS for one in _mapping(package, key).values()]
    local = any(one.startswith(("file:", "link:", "portal:", "workspace:")) for one in needs)
    return not (more or local or "workspaces" in package or _HOOKS & {*scripts})


def _site(
    folder: Folder, needs: Mapping[str, str], every: Mapping[str, str], scripts: Mapping[str, str]
) -> str | None:
    """The folder of a site that needs no server once it is built."""
    if "build" not in scripts or any(one in needs for one in (*_SERVERS, "next", "nuxt", "@astrojs/node")):
        if "next" in needs and re.search(r"output:\s*['\"]export['\"]", _config(folder, "next.config")):
            return "out"
        return None
    if "@angular/core" in every:
        name = next(iter(_mapping_of(folder.json("angular.json"), "projects")), "")
        return f"dist/{name}/browser" if re.fullmatch(r"[\w-]+", name) else None
    if "@sveltejs/kit" in every:
        return "build" if "@sveltejs/adapter-static" in every else None
    if any(one.startswith(("@remix-run/", "@react-router/")) for one in every):
        return None
    return next((place for name, place in _STATIC.items() if name in every), None)


def _mapping_of(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _config(folder: Folder, name: str) -> str:
    return "\n".join(folder.text(path) for path in folder.named(rf"{re.escape(name)}\.m?[jt]s"))


def _command(
    folder: Folder, needs: Mapping[str, str], scripts: Mapping[str, str], manager: str, *, berry: bool
) -> Sequence[str]:
    """Node itself where that will do: a package manager does not hand on SIGTERM."""
    if "nuxt" in needs:
        return ["node", ".output/server/index.mjs"]
    if "@sveltejs/adapter-node" in {**needs, **_mapping(folder.json("package.json"), "devDependencies")}:
        return ["node", "build"]
    script = "start:prod" if "start:prod" in scripts else "start"
    if script in scripts:
        try:
            words = shlex.split(scripts[script])
        except ValueError:
            words = []
        simple = not berry and words[:1] == ["node"] and not re.search(r"[|&;<>()$`*?~]", scripts[script])
        return words if simple else [manager, "run", script]
    if main := folder.first("server.js", "index.js", "app.js", "main.js", "server.mjs", "index.mjs"):
        return ["node", main]
    raise Unsure("how it is started can't be told: write a script `start` into package.json")
